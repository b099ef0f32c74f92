"""Runs the contenders of a case in turn, round after round."""

import shutil
import sys
from pathlib import Path

from tests.benchmarks.process import ProcessError, Seconds, run
from tests.benchmarks.writing.cases import Case
from tests.benchmarks.writing.contenders import Contender
from tests.benchmarks.writing.corpus import Corpora, Corpus

# What each size took in each round, of each contender.
Rounds = dict[str, list[dict[int, Seconds]]]


def measure(
    case: Case, contenders: dict[str, Contender], corpora: Corpora, rounds: int
) -> Rounds:
    """Returns what whole commands took.

    Raises:
        ProcessError: One failed, or did not write all images.
    """
    corpus_of = {size: corpora.corpus(case.kind, size) for size in case.sizes}
    names = list(contenders)
    costs: Rounds = {name: [] for name in names}
    for name in names:  # What is read for the first time comes from the disk.
        _cost(contenders[name], corpus_of[case.sizes[0]], corpora.work)
    for number in range(rounds):
        for name in names:
            costs[name].append({})
        for size, corpus in corpus_of.items():
            for name in names:
                took = _cost(contenders[name], corpus, corpora.work)
                costs[name][-1][size] = took
                line = f"round {number + 1}: {name}, {size:,} of {case.kind}: "
                print(f"{line}{took.wall:.2f} s, CPU {took.cpu:.2f} s", file=sys.stderr)
        names = names[1:] + names[:1]
    return costs


def _cost(contender: Contender, corpus: Corpus, work: Path) -> Seconds:
    output = work / "output"
    shutil.rmtree(output, ignore_errors=True)
    took = run(contender.command(corpus, output), work / "log")
    if contender.num_written and (num := contender.num_written(output)) != corpus.size:
        raise ProcessError(f"{num} images were written, of {corpus.size}")
    shutil.rmtree(output)
    return took
