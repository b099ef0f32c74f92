"""Finishes a layer: committed shards → index, rejects, tokenizer and `layer.json`.

Finishing is idempotent. It can be repeated, also after an interruption at any point.
"""

from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.layers.layer_accounting import accounting_of, publish_rejects
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.storage.files import crc32c_of, read_file
from beam_jobs.workspace.commits import Commit
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.finalize import (
    by_split,
    commits_of,
    fingerprints_of,
    merged_statistics,
)
from reader.contract import layout
from reader.contract.additions.layer import (
    LAYER,
    LayerAccounting,
    LayerManifest,
    dump_layer,
)
from reader.contract.errors import BuildError
from reader.contract.index import index_files, parse_lengths
from reader.contract.record import FRAMING_BYTES, crc32c_hex


def finish_layer(config: LayerConfig, plan: JobPlan, lease: str) -> tuple[str, ...]:
    """Publishes what belongs to no shard, and `layer.json` last.

    Args:
        config: Configuration of the layer.
        plan: Plan of the job.
        lease: Token of the output's lease, held by the running job.

    Returns:
        No failures: they are known before the shards are written.

    Raises:
        BuildError: A shard is not finished, another job holds the lease, or the counts
            do not add up.
    """
    workspace = Workspace(config.output)
    commits = list(commits_of(workspace, plan))
    accounting = _checked_accounting(config, plan, commits)
    # Check the lease again, because reading many commit records takes a while.
    check_lease(workspace, lease)
    files = index_files(parse_lengths(commit.lengths) for commit in commits)
    if config.has_captions:
        tokenizer = f"{layout.TOKENIZER_DIR}/{plan.tokenizer.file}"
        files[tokenizer] = read_file(workspace.tokenizer)
    checksums = {file: crc32c_hex(data) for file, data in files.items()}
    for file, data in files.items():
        workspace.publish(workspace.published(file), data)
    rejects = workspace.published(layout.REJECTS)
    publish_rejects(workspace, rejects)
    checksums[layout.REJECTS] = str(crc32c_of(rejects))
    for commit in commits:
        checksums |= commit.files
    layer = _make_layer(config, plan, commits, accounting, checksums)
    workspace.publish(workspace.published(LAYER), dump_layer(layer))
    return ()


def _checked_accounting(
    config: LayerConfig, plan: JobPlan, commits: list[Commit]
) -> LayerAccounting:
    lengths = [parse_lengths(commit.lengths) for commit in commits]
    added = sum(int((each > FRAMING_BYTES).sum()) for each in lengths)
    accounting = accounting_of(config, plan, added)
    base = [shard.num_examples for shard in config.base_shards]
    if list(map(len, lengths)) != base or not accounting.balanced(sum(base)):
        raise BuildError(
            f"the counts do not add up: {accounting}, of {sum(base)} records: this is "
            "a bug in diptych, please report it"
        )
    return accounting


def _make_layer(
    config: LayerConfig,
    plan: JobPlan,
    commits: list[Commit],
    accounting: LayerAccounting,
    files: dict[str, str],
) -> LayerManifest:
    return LayerManifest(
        name=config.name,
        base=config.base_shards,
        features=config.features,
        tokenizer=plan.tokenizer if config.has_captions else None,
        replaces=config.replaced,
        shards=tuple(commit.shard for commit in commits),
        statistics={
            split: merged_statistics(of_split)
            for split, of_split in by_split(plan, commits).items()
        },
        accounting=accounting,
        files=files,
        fingerprints=fingerprints_of(config, plan, commits),
        config=config.fingerprint_fields(),
        versions=plan.versions,
    )
