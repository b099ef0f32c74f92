"""Compares ways to read pictures into training.

    python -m tests.benchmarks.reading --images=photos --work=scratch

All read the same pictures, whose shorter side is 256, and return shuffled batches of 64
images of 224 pixels, most of them with int32[64] token ids and a mask. The tasks:

random_resized   JPEGs: regions of random area and shape, resized, half of them flipped
center           JPEGs: the middle 224 pixels
raw              the middle 224 pixels of pictures stored as raw pixels

Each peer reads the probe (`probe.py`) and is checked (`verdict.py`) before it takes
part; the table says who does not antialias all images. How costs are taken:
`measure.py`. `ffcv`, `tutorial` and `loose` take their decoder's fast, coarser inverse
DCT; `loose` reads the photographs as they are, `bare` is a decoder by itself.

Printed are medians over rounds, in each of which everybody runs once, in an order that
rotates. "Ours ÷ theirs" is how many times as many images per CPU-second `diptych` reads
in the same round: the geometric mean, and its 95 % interval (`spread.py`). With
`--busy` it is images per second, with a core kept busy by Python code in a thread, and
in another process (`busy.py`).
"""

import argparse
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from reader.contract.host import num_cores
from tests.benchmarks.process import ProcessError
from tests.benchmarks.reading import probe, roster
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.measure import folder_of, measure, run
from tests.benchmarks.reading.roster import DTYPES, PEERS, TASKS, Case
from tests.benchmarks.reading.table import markdown, summary
from tests.benchmarks.reading.verdict import antialiased, faults


def prepare(case: Case, corpus: Corpus) -> None:
    """Writes what a peer reads, if that is not there yet."""
    folder = folder_of(case, Path(corpus.work))
    done = folder / "prepared"
    if done.exists():
        return
    corpus.build(TASKS[case.task])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run("prepare", case, Path(corpus.work), corpus=asdict(corpus))
    done.touch()


def check(case: Case, probes: Corpus, again: bool) -> float | None:
    """Checks two epochs of the probe, once, or again.

    Returns:
        Share of the images made smaller that are antialiased.

    Raises:
        ProcessError: They are not what was asked for.
    """
    work = Path(probes.work)
    done = folder_of(case, work) / f"checked.{case.task}.{case.dtype}.json"
    if again or not done.exists():
        held = run("check", case, work)
        if wrong := faults(held, case, PEERS[case.peer]):
            raise ProcessError("; ".join(wrong))
        resized = case.task == "random_resized"
        done.write_text(json.dumps(antialiased(held) if resized else None))
        print(f"{case}: checked", file=sys.stderr, flush=True)
    share: float | None = json.loads(done.read_text())
    return share


def ready(
    cases: list[Case], corpus: Corpus, probes: Corpus, again: bool
) -> dict[Case, float | None]:
    """Returns who can take part, with what `check` returns, and names the others."""
    taking_part = {}
    for case in cases:
        if not PEERS[case.peer].installed:
            print(f"{case}: not installed, {PEERS[case.peer].remedy}", file=sys.stderr)
            continue
        try:
            for each in (probes, corpus):
                prepare(case, each)
            taking_part[case] = check(case, probes, again)
        except ProcessError as error:
            print(f"{case}: left out, {error}", file=sys.stderr, flush=True)
    return taking_part


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reading")
    parser.add_argument("--images", required=True, help="a folder of photographs")
    parser.add_argument("--captions", help="texts of the same names; else one for all")
    parser.add_argument("--work", required=True, help="where data are kept for again")
    for name, known, default in (
        ("tasks", TASKS, "random_resized"),
        ("dtypes", DTYPES, "uint8"),
        ("peers", PEERS, ",".join(PEERS)),
    ):
        told = f"of {','.join(known)}; by default {default}"
        parser.add_argument(f"--{name}", default=default, help=told)
    parser.add_argument("--busy", action="store_true", help="beside Python code")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of a round")
    parser.add_argument("--quick", action="store_true", help="one round of one epoch")
    parser.add_argument("--json", type=Path, help="a file for what each round took")
    parser.add_argument("--quality", type=int, default=90, help="of stored JPEGs")
    parser.add_argument("--check", action="store_true", help="check, do not measure")
    args = parser.parse_args()
    for name, known in (("tasks", TASKS), ("dtypes", DTYPES), ("peers", PEERS)):
        chosen = getattr(args, name).split(",")
        if unknown := [each for each in chosen if each not in known]:
            parser.error(
                f"no such {name}: {', '.join(unknown)}; there are {', '.join(known)}"
            )
        setattr(args, name, chosen)
    if args.quick:
        args.rounds, args.seconds = 1, 0
    return args


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = parsed()
    work = Path(args.work).resolve()
    corpus = Corpus(
        images=os.path.abspath(args.images),
        captions=args.captions and os.path.abspath(args.captions),
        quality=args.quality,
        work=str(work),
    )
    num = corpus.build(TASKS[args.tasks[0]])
    cases = roster.cases(args.tasks, args.dtypes, args.peers)
    checked = ready(cases, corpus, probe.corpus(work / "probe"), args.check)
    if args.check:
        return
    cases = [*checked]
    if args.busy:
        cases = [c._replace(beside=by) for c in cases for by in ("process", "thread")]
    costs = measure(cases, work, args.rounds, args.seconds)
    rows = summary(costs, checked)
    print(f"{num} records, {num_cores()} cores, {args.rounds} rounds\n")
    print(markdown(rows))
    if args.json:
        settings = {"records": num, "cores": num_cores(), "rounds": args.rounds}
        settings |= {"seconds": args.seconds, "quality": args.quality}
        args.json.write_text(json.dumps(settings | {"cases": rows}, indent=1))


if __name__ == "__main__":
    main()
