"""Declares each field of LayerConfig once.

The meaning is documented in `beam_jobs.config.layer_config.LayerConfig`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from beam_jobs.config.columns import Column
from beam_jobs.config.job_settings import JobSettings
from beam_jobs.config.settings import (
    ADDED,
    CAPTIONS,
    OUTPUT,
    as_in,
    metadata_of,
    setting,
)
from reader.contract.additions.layer import REPLACES
from reader.contract.schema import BASE_CAPTIONS

FILL = (BASE_CAPTIONS,)

_as_in_build = partial(as_in, JobSettings)


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """Fields of `LayerConfig`, in the order of `diptych layer --help`."""

    dataset: str = field(
        metadata=metadata_of(
            ADDED,
            "folder of the dataset",
            metavar="OUT",
            is_path=True,
            changes_output=False,
        )
    )
    table: str | Sequence[str] | None = _as_in_build(
        "table",
        group=ADDED,
        help="CSV, TSV, JSONL or Parquet file with a row for each key; or a glob",
        images=None,
    )
    key_column: str | None = _as_in_build(
        "key_column", group=ADDED, help="column of keys (detected: key, …)"
    )
    caption_column: str | None = _as_in_build(
        "caption_column", group=ADDED, help="column of captions (none)"
    )
    columns: tuple[Column, ...] = _as_in_build(
        "columns",
        group=ADDED,
        help="columns to store, such as score:float,emb:float[768]",
    )
    retokenize: bool = setting(
        ADDED, "the dataset's own captions with another --tokenizer", False
    )
    table_delimiter: str | None = _as_in_build("table_delimiter", group=ADDED)
    table_quoting: str = _as_in_build("table_quoting", group=ADDED)

    caption_encoding: str = _as_in_build("caption_encoding")
    tokenizer: str = setting(
        CAPTIONS,
        "bytes, a tokenizer.json, SentencePiece model or CLIP's merges, or a dataset "
        "whose tokenizer to take over (that of the dataset)",
        "",
        metavar="KIND|FILE|DATASET",
    )
    replaces: str | None = setting(
        CAPTIONS,
        "what the layer takes the place of when it is read (nothing)",
        None,
        choices=REPLACES,
    )
    fill: str | None = setting(
        CAPTIONS,
        "base: records without a row keep the dataset's captions (nothing)",
        None,
        choices=FILL,
    )

    name: str = field(
        metadata=metadata_of(
            OUTPUT, "name of the layer, such as recap-v2", metavar="NAME"
        )
    )
    output: str = setting(
        OUTPUT,
        "folder of the layer (OUT/layers/NAME)",
        "",
        metavar="DIR",
        is_path=True,
        changes_output=False,
    )
    overwrite: bool = _as_in_build(
        "overwrite", help="replace the layer that is in its folder"
    )
    repair: bool = _as_in_build("repair")
    take_over: bool = _as_in_build("take_over")
    plan_only: bool = _as_in_build(
        "plan_only", help="match the keys and show the counts, but write nothing"
    )

    max_rejects: str | int = _as_in_build("max_rejects")
    max_unpaired: str | int = _as_in_build(
        "max_unpaired", help="fail if more keys are not in the dataset (10%%)"
    )

    workers: int | None = _as_in_build("workers")
