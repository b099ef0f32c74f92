"""CloseLayerPlan: matched key ranges → `plan.json`."""

from collections import Counter
from collections.abc import Iterable, Iterator

import apache_beam as beam

from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.elements import KeyRange
from beam_jobs.planning.close_plan import digest_of, total_of
from beam_jobs.planning.job_plan import JobPlan, PlannedSplit, dump_plan
from beam_jobs.planning.library_versions import layer_versions
from beam_jobs.sources.listing_digest import sum_hashes
from beam_jobs.storage.files import delete_folder, read_file
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from reader.contract.tokenizers.registry import make_spec


class CloseLayerPlan(beam.PTransform):
    """Writes the plan to disk: all `KeyRange`s → fingerprint of the plan."""

    def __init__(self, config: LayerConfig, lease: str) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the layer.
            lease: Token of the output's lease, held by the running job.
        """
        super().__init__()
        self._fn = _CloseLayerPlanFn(config, lease)

    def expand(self, key_ranges: beam.PCollection[KeyRange]) -> beam.PCollection[str]:
        """Waits for all key ranges and writes `plan.json`."""
        return (
            key_ranges
            | "Collect" >> beam.combiners.ToList()
            | "Close" >> beam.ParDo(self._fn)
        )


class _CloseLayerPlanFn(beam.DoFn):
    def __init__(self, config: LayerConfig, lease: str) -> None:
        self._config = config
        self._lease = lease

    def process(self, key_ranges: list[KeyRange]) -> Iterator[str]:
        workspace = Workspace(self._config.output)
        with noted(workspace, "closing the plan"):
            check_lease(workspace, self._lease)
            yield close_layer_plan(workspace, key_ranges, self._config).fingerprint
            delete_folder(workspace.rows)


def close_layer_plan(
    workspace: Workspace, key_ranges: Iterable[KeyRange], config: LayerConfig
) -> JobPlan:
    """Writes and returns the plan, with the shards of the dataset.

    Args:
        workspace: Workspace of the job, with the tokenizer.
        key_ranges: All key ranges with rows, in any order.
        config: Configuration of the layer.
    """
    key_ranges = sorted(key_ranges)
    matched: Counter[str] = Counter()
    for key_range in key_ranges:
        matched.update(key_range.pairs)
    tokenizer = read_file(workspace.tokenizer)
    versions = layer_versions(config.tokenizer_kind)
    found = sum(key_range.found for key_range in key_ranges)
    plan = JobPlan(
        splits=tuple(
            PlannedSplit(
                name=split.name,
                num_pairs=(
                    split.num_examples if config.retokenize else matched[split.name]
                ),
                num_shards=len(split.shards),
            )
            for split in config.base.splits
        ),
        found=config.base.num_examples if config.retokenize else found,
        rejects=total_of(key_range.rejects for key_range in key_ranges),
        ignored={},
        loops=(),
        record_bytes=0,
        tokenizer=make_spec(config.tokenizer_kind, tokenizer),
        listing=sum_hashes(int(key_range.listing, 16) for key_range in key_ranges),
        sources=digest_of(
            [key_range.digest for key_range in key_ranges if key_range.pairs],
            [config.fingerprint, str(versions)],
        ),
        versions=versions,
        key_ranges=tuple(
            key_range.number for key_range in key_ranges if key_range.pairs
        ),
    )
    workspace.publish(workspace.plan, dump_plan(plan))
    return plan
