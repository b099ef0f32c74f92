"""Compares the statistics that a dataset or layer states with those of its records."""

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from reader.contract.layout import parse_shard_name
from reader.contract.statistics import Statistics
from reader.tools.verify.shard_check import ShardReport


def wrong_statistics(
    stated: Mapping[str, Statistics], reports: Iterable[ShardReport]
) -> Iterator[str]:
    """Yields that the statistics of a split differ from those of its records.

    A split with a damaged shard is not compared, since its statistics would only be
    those of its readable records.

    Args:
        stated: Stated statistics by split.
        reports: Reports of all shards.
    """
    by_split: defaultdict[str, list[ShardReport]] = defaultdict(list)
    for report in reports:
        name = parse_shard_name(os.path.basename(report.path))
        by_split["" if name is None else name.split].append(report)
    for split, statistics in stated.items():
        of_split = by_split[split]
        if any(report.problems for report in of_split):
            continue
        found = Statistics()
        for report in of_split:
            found = found.merge(report.statistics)
        if _as_counted(found, statistics) != statistics:
            yield f"the statistics of {split} do not match its records"


def _as_counted(found: Statistics, stated: Statistics) -> Statistics:
    """Returns statistics without those that are not stated."""
    if stated.captions is None:
        found = dataclasses.replace(found, captions=None)
    if stated.one_token_captions is None:
        found = dataclasses.replace(found, one_token_captions=None)
    if not stated.no_token_captions:  # Also if they were not counted.
        found = dataclasses.replace(found, no_token_captions=0)
    return found
