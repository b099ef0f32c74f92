"""Lists and pairs a source without a pipeline."""

from pathlib import Path

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Entry, Pair, Reject
from beam_jobs.planning.pair_entries import pair_entries
from beam_jobs.sources.listing_digest import inspected
from beam_jobs.sources.registry import list_entries, list_tasks
from beam_jobs.sources.source_files import SourceFiles


def paired(config: JobConfig) -> tuple[dict[str, Pair], dict[str, Reject]]:
    """Returns the pairs and the rejects of a source by their keys."""
    found = [one for task in list_tasks(config) for one in list_entries(task, config)]
    files = SourceFiles(config)
    entries = [inspected(one, files) for one in found if isinstance(one, Entry)]
    pairs, rejects = pair_entries(entries, config)
    keys = {one.key for one in entries}
    assert {one.key for one in (*pairs, *rejects)} == keys
    assert len(pairs) + len(rejects) == len(keys)
    return (
        {one.key.decode(): one for one in pairs},
        {one.key.decode(): one for one in rejects},
    )


def put_files(folder: Path, *names: str) -> None:
    """Puts files that hold their names, in folders that are made."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
