"""Compares ways to write pictures into a dataset.

    python -m tests.benchmarks.writing --images=photos --captions=texts --work=scratch

Its cases, of which `--cases` takes some:

photographs    `diptych build` as it comes (shorter side 256, JPEG of quality 90)
               against a bare loop of the same codecs
kept           JPEGs that need no change against a loop of reading, decoding and writing
large          12 megapixels against the loop of codecs, which decodes all of them
likeness       and what that does to the pixels: `likeness.py`
img2dataset    the same photographs with img2dataset, its defaults and tuned. It reads
               them by `file://`, writes WebDataset, and lives in an environment of its
               own, whose Python is `--img2dataset`
scaling        small pictures, from a thousand to a hundred thousand
gil            what holds Python's lock: `gil.py`

How costs are taken: each contender is run as a whole command, in a process of its own,
on corpora of two sizes, and timed from outside by wall clock and by the user and system
time of all its processes (`process.py`). What the larger takes longer, by the images
that it has more, is what an image costs; what is left is fixed: interpreters, imports,
planning (`table.py`). Loops have a thread for each core that the process may use;
`diptych` has its defaults, which come to the same. Corpora are links to the photographs
of a folder under as many names as it takes (`corpus.py`): JPEGs only, with all that
they hold besides pixels (`originals.py`). Whoever writes must have written every image.

Each contender first writes the smallest corpus untimed. Then, in each round, everybody
writes each corpus once, and they take turns in who is first. Printed are medians over
rounds, with the least and the most. The last columns are what an image costs somebody
to what it costs ours in the same round, so 2 is half as fast; those of ours, where
there are several steps, to what it costs ours in the first.
"""

import argparse
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reader.contract.host import num_cores
from tests.benchmarks.process import ProcessError
from tests.benchmarks.writing import gil, table
from tests.benchmarks.writing.cases import CASES
from tests.benchmarks.writing.contenders import contenders
from tests.benchmarks.writing.corpus import Corpora
from tests.benchmarks.writing.measure import measure

# A table, and the same for JSON.
Report = tuple[str, list[dict[str, Any]]]


def compared(name: str, corpora: Corpora, args: argparse.Namespace) -> Report:
    """Measures a case of several contenders."""
    case = CASES[name].scaled(args.scale)
    everybody = contenders(args.img2dataset)
    taking_part = {each: everybody[each] for each in case.contenders}
    costs = measure(case, taking_part, corpora, args.rounds)
    return table.markdown(costs), table.summary(costs)


def liked(corpora: Corpora, args: argparse.Namespace) -> Report:
    """Compares the pixels of large photographs."""
    from tests.benchmarks.writing import likeness  # Which needs an extra.

    found = likeness.likeness(corpora)
    return likeness.markdown(found), likeness.summary(found)


def watched(corpora: Corpora, args: argparse.Namespace) -> Report:
    """Watches the threads of the first case."""
    case = CASES["photographs"].scaled(args.scale)
    found = gil.shares(corpora.corpus(case.kind, case.sizes[-1]), corpora.work)
    return gil.markdown(found), gil.summary(found)


_OTHERS: dict[str, Callable[[Corpora, argparse.Namespace], Report]] = {
    "likeness": liked,
    "gil": watched,
}
NAMES = (*CASES, *_OTHERS)
# Of which the smallest corpora are still of different sizes.
_LEAST_SCALE = 0.02


def report(name: str, corpora: Corpora, args: argparse.Namespace) -> Report:
    """Returns what a case gives."""
    if name in _OTHERS:
        return _OTHERS[name](corpora, args)
    return compared(name, corpora, args)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.writing")
    parser.add_argument("--images", required=True, help="a folder of photographs")
    parser.add_argument("--captions", required=True, help="a folder of texts")
    parser.add_argument("--work", required=True, help="where data are kept for again")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", help=f"of {','.join(NAMES)}; all by default")
    parser.add_argument("--img2dataset", metavar="PYTHON", help="one that has it")
    parser.add_argument("--json", type=Path, help="a file for what each round took")
    parser.add_argument("--scale", type=float, default=1, help="corpora so much larger")
    args = parser.parse_args()
    default = [name for name in NAMES if name != "img2dataset" or args.img2dataset]
    args.cases = args.cases.split(",") if args.cases else default
    if wrong := next(faults(args), None):
        parser.error(wrong)
    return args


def faults(args: argparse.Namespace) -> Iterator[str]:
    """Yields what is wrong with the arguments."""
    if unknown := set(args.cases) - set(NAMES):
        yield f"no such cases: {', '.join(unknown)}; there are {', '.join(NAMES)}"
    for folder in (args.images, args.captions):
        if not os.path.isdir(folder):
            yield f"{folder} is no folder"
    if args.rounds < 1:
        yield f"--rounds must be at least 1, got {args.rounds}"
    if args.scale < _LEAST_SCALE:
        yield f"--scale must be at least {_LEAST_SCALE}, got {args.scale}"
    if "img2dataset" in args.cases and not shutil.which(args.img2dataset or ""):
        yield f"--img2dataset must be a Python that has it, got {args.img2dataset}"
    installed = {"likeness": importlib.util.find_spec("skimage"), "gil": gil.py_spy()}
    for name in args.cases:
        if name in installed and not installed[name]:
            yield f"{name} needs more: pip install 'diptych[bench]'"


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = parsed()
    corpora = Corpora(
        images=Path(args.images).resolve(),
        captions=Path(args.captions).resolve(),
        work=Path(args.work).resolve(),
    )
    corpora.claim()
    given_up = []
    settings = {"cores": num_cores(), "rounds": args.rounds, "scale": args.scale}
    told: dict[str, Any] = settings | {"cases": {}}
    for name in args.cases:
        try:
            shown, told["cases"][name] = report(name, corpora, args)
        except ProcessError as error:
            print(f"{name}: given up, {error}", file=sys.stderr)
            given_up.append(name)
            continue
        print(f"{name}\n\n{shown}\n", flush=True)
        if args.json:
            args.json.write_text(json.dumps(told, indent=1))
    sys.exit(bool(given_up))


if __name__ == "__main__":
    main()
