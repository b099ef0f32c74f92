"""Compares ways to read pictures into training.

    python -m tests.benchmarks.reading --images=photos --captions=texts --work=scratch

All give the middle 224 pixels of the same stored JPEGs, whose shorter side is 256, in
shuffled batches of 64, most of them with int32[64] token ids and a mask. `loose` alone
reads the photographs themselves, and the raw ones raw pixels. How costs are taken:
`measure.py`. A peer takes part after its batches were checked: `verdict.py`. `ffcv`,
`tutorial` and `loose` take their decoder's fast, coarser inverse DCT.

Printed are medians over rounds, in each of which everybody runs once, in an order that
rotates. "Ours to it" is how many times as many images per CPU-second `diptych` reads
(`diptych-raw`, for the raw ones) in the same round, with the least and the most.
"""

import argparse
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.process import ProcessError
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.measure import Cost, cost_of_epochs, run
from tests.benchmarks.reading.roster import PEERS, Peer
from tests.benchmarks.reading.table import Case, Rounds, markdown, summary
from tests.benchmarks.reading.verdict import faults


def prepare(peer: Peer, folder: Path, corpus: Corpus) -> None:
    """Writes what a peer reads, if that is not there yet."""
    done = folder / "prepared"
    if done.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run("prepare", peer, folder, corpus=asdict(corpus))
    done.touch()


def check(case: Case, work: Path, num: int, again: bool) -> None:
    """Checks an epoch of a peer, once, or again.

    Raises:
        ProcessError: It does less than the others, or something else.
    """
    done = work / case.peer / f"checked.{case.dtype}.json"
    if done.exists() and not again:
        return
    held = _held(case, work)
    ours = _held(Case("diptych", "float32"), work)
    if wrong := faults(held, case.dtype, num, ours["mean"]):
        raise ProcessError("; ".join(wrong))
    done.write_text(json.dumps(held))
    print(f"{case.peer} {case.dtype}: checked, {json.dumps(held)}", file=sys.stderr)


def _held(case: Case, work: Path) -> dict[str, Any]:
    folder = work / case.peer
    held: dict[str, Any] = run("check", PEERS[case.peer], folder, dtype=case.dtype)
    return held


def ready(peers: list[Peer], corpus: Corpus, num: int, again: bool) -> list[Case]:
    """Returns who can take part, and names the others."""
    work, cases = Path(corpus.work, "peers"), []
    for peer in peers:
        if not peer.installed:
            print(f"{peer.name}: not installed, {peer.remedy}", file=sys.stderr)
            continue
        for case in (Case(peer.name, dtype) for dtype in peer.dtypes):
            try:
                prepare(PEERS["diptych"], work / "diptych", corpus)
                prepare(peer, work / peer.name, corpus)
                check(case, work, num, again)
                cases.append(case)
            except ProcessError as error:
                print(f"{case.peer} {case.dtype}: left out, {error}", file=sys.stderr)
    return cases


def measure(cases: list[Case], work: Path, rounds: int, epochs: int) -> Rounds:
    """Returns what the epochs of each case cost in each round."""
    costs: Rounds = {case: [] for case in cases}
    for number in range(rounds):
        turn = number * len(cases) // rounds
        for case in cases[turn:] + cases[:turn]:
            if case not in costs:
                continue
            folder = work / case.peer
            try:
                cost = cost_of_epochs(PEERS[case.peer], folder, case.dtype, epochs)
            except ProcessError as error:
                print(f"{case.peer} {case.dtype}: given up, {error}", file=sys.stderr)
                del costs[case]
                continue
            costs[case].append(cost)
            print(f"round {number + 1}: {_line(case, cost)}", file=sys.stderr)
    return costs


def _line(case: Case, cost: Cost) -> str:
    cpu, wall = cost.images / cost.cpu_seconds, cost.images / cost.wall_seconds
    return f"{case.peer} {case.dtype} {cpu:.0f} images/CPU-s, {wall:.0f} images/s"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reading")
    parser.add_argument("--images", required=True, help="a folder of photographs")
    parser.add_argument("--captions", required=True, help="a folder of texts")
    parser.add_argument("--work", required=True, help="where data are kept for again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="after a first one")
    parser.add_argument("--peers", default=",".join(PEERS), help="of these, by commas")
    parser.add_argument("--json", type=Path, help="a file for what each round took")
    parser.add_argument("--quality", type=int, default=90, help="of stored JPEGs")
    parser.add_argument("--check", action="store_true", help="check, do not measure")
    args = parser.parse_args()
    if unknown := set(args.peers.split(",")) - set(PEERS):
        parser.error(
            f"no such peers: {', '.join(unknown)}; there are {', '.join(PEERS)}"
        )
    return args


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = parsed()
    corpus = Corpus(
        images=os.path.abspath(args.images),
        captions=os.path.abspath(args.captions),
        quality=args.quality,
        work=os.path.abspath(args.work),
    )
    num = corpus.build()
    peers = [PEERS[name] for name in args.peers.split(",")]
    cases = ready(peers, corpus, num, args.check)
    if args.check:
        return
    costs = measure(cases, Path(corpus.work, "peers"), args.rounds, args.epochs)
    print(f"{num} records, {args.rounds} rounds of {args.epochs} epochs\n")
    print(markdown(costs))
    if args.json:
        settings = {"records": num, "rounds": args.rounds, "epochs": args.epochs}
        told = settings | {"quality": args.quality, "cases": summary(costs)}
        args.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
