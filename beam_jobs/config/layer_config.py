"""LayerConfig: the frozen configuration of a layer, validated when it is made."""

import functools
import hashlib
import os
from dataclasses import dataclass
from typing import Any

from beam_jobs.config.columns import Column
from beam_jobs.config.common_config import CommonConfig
from beam_jobs.config.layer_settings import LayerSettings
from beam_jobs.config.values import check_not_empty
from beam_jobs.storage.files import is_folder, read_if_exists
from reader.contract.additions.base_shard import BaseShard, base_of
from reader.contract.additions.layer import (
    caption_features,
    check_layer_name,
    column_key,
)
from reader.contract.errors import DatasetError, UsageError
from reader.contract.json_values import dump_json
from reader.contract.layout import BUILD_DIR, LAYERS_DIR, MANIFEST
from reader.contract.manifest import Manifest, parse_manifest
from reader.contract.schema import Feature


@dataclass(frozen=True, kw_only=True)
class LayerConfig(LayerSettings, CommonConfig):
    """Configuration of a layer: features that are added to a finished dataset.

    Values are validated when the configuration is made, which reads no file. `layer`
    checks the dataset, the tables and the tokenizer before any work. Paths are local
    paths, where a leading `~` stands for the home folder, or addresses in a bucket:
    `gs://BUCKET/…`, `s3://BUCKET/…` or `az://CONTAINER/…`.

    Attributes:
        dataset: Folder of the dataset. Its shards do not change.
        name: Name of the layer. The keys of its features begin with it, such as
            `recap-v2/caption`.
        table: Path or glob of CSV, TSV, JSONL or Parquet files with a key in each row;
            or a sequence of these. Their order does not matter.
        key_column: Column of the keys. None to detect the column by its usual names:
            `key` and others.
        caption_column: Column of captions: texts, or lists of texts. None for a layer
            without captions.
        columns: Columns that are stored in the records as `<name>/<column>` features.
        retokenize: Whether the layer holds the dataset's own captions, with the ids of
            another tokenizer, in the place of the dataset's captions and ids.
        table_delimiter: Character between the cells of text tables, as in `JobConfig`.
        table_quoting: Whether cells of text tables are quoted: `auto`, `csv` or `none`.
        caption_encoding: Text encoding of tables without a byte order mark.
        tokenizer: `bytes`, the path of a tokenizer file, or the folder of a dataset
            whose tokenizer is taken over. Empty for the tokenizer of the dataset.
        replaces: `captions` if the layer's captions and ids take the place of the
            dataset's when it is read. Every record then needs captions.
        fill: `base` to copy the dataset's captions for records without a row in the
            tables. Their columns are 0 or empty.
        output: Folder of the layer. Empty for `layers/<name>` in the dataset.
        overwrite: Whether the job replaces an existing layer in `output`.
        repair: Whether the job checks the bytes of all finished files and rewrites
            damaged ones.
        take_over: Whether the job ends another job's lease on an output in a bucket.
        plan_only: Whether the job stops after planning and writes nothing.
        max_rejects: Limit on rejected keys. The job fails above it. A count, or a
            percentage of all keys such as `0.5%`.
        max_unpaired: Limit on keys that the dataset does not have. The job fails above
            it. A count or a percentage, like `max_rejects`.
        workers: Number of worker processes on this machine. None to derive it from the
            number of cores.

    Raises:
        UsageError: A value is invalid, or two values exclude each other. The message
            names the field and, where it can, shows the value.
    """

    def __post_init__(self) -> None:
        """Fills in paths, and checks every value without reading a file."""
        for field in ("dataset", "name"):
            check_not_empty(field, getattr(self, field))
        check_layer_name(self.name)
        if not self.output:
            output = os.path.join(self.dataset, LAYERS_DIR, self.name)
            object.__setattr__(self, "output", output)
        self._normalize_paths()
        self._check_declared()
        self._check_common()
        self._check_added()
        self._check_captions()
        _ = self.features  # Raises if a column has the name of the layer's own.

    def _check_added(self) -> None:
        """Checks that the fields name one source of something to store."""
        if self.retokenize:
            for field in ("table", "caption_column", "columns", "fill"):
                if getattr(self, field):
                    raise UsageError(f"retokenize and {field} exclude each other")
            if not self.tokenizer:
                raise UsageError("retokenize needs tokenizer: pass the new one")
            return
        if self.table is None:
            raise UsageError(
                "table is required: pass a table with a key in each row, or retokenize"
            )
        if self.caption_column is None and not self.columns:
            raise UsageError(
                "nothing to store: pass caption_column, columns, or retokenize"
            )
        if self.tokenizer and self.caption_column is None:
            raise UsageError("tokenizer is for captions: pass caption_column too")

    def _check_captions(self) -> None:
        for field in ("replaces", "fill"):
            if getattr(self, field) and not self.has_captions:
                raise UsageError(f"{field} is for captions: pass caption_column too")
        if self.tokenizer == "basic":
            raise UsageError(
                "tokenizer=basic counts a vocabulary, which a layer does not: pass the "
                "folder of a dataset with that vocabulary, or leave tokenizer out"
            )

    @property
    def has_captions(self) -> bool:
        """Whether the layer has captions."""
        return self.retokenize or self.caption_column is not None

    @property
    def replaced(self) -> tuple[str, ...]:
        """What the layer takes the place of."""
        if self.retokenize:
            return ("captions",)
        return () if self.replaces is None else (self.replaces,)

    @property
    def takes_base_captions(self) -> bool:
        """Whether records have captions of the dataset."""
        return self.retokenize or self.fill is not None

    @property
    def tokenizer_place(self) -> str:
        """Kind, file or folder of the tokenizer that is used.

        Without captions it is one that needs no library.
        """
        return (self.tokenizer or self.dataset) if self.has_captions else "bytes"

    @property
    def columns_read(self) -> tuple[Column, ...]:
        """Columns of the tables that are read."""
        return self.columns

    @functools.cached_property
    def column_features(self) -> tuple[Feature, ...]:
        """Features of the columns, in their order."""
        return tuple(
            column.feature._replace(key=column_key(self.name, column.name))
            for column in self.columns
        )

    @functools.cached_property
    def features(self) -> tuple[Feature, ...]:
        """Features that are added."""
        captions = caption_features(self.name) if self.has_captions else ()
        return (*captions, *self.column_features)

    @functools.cached_property
    def base(self) -> Manifest:
        """Manifest of the dataset.

        It is read once, on first access, and travels with the configuration.

        Raises:
            UsageError: The folder is not a finished dataset, or has captions that are
                called like the layer.
        """
        data = read_if_exists(os.path.join(self.dataset, MANIFEST))
        if data is None:
            raise UsageError(f"{self.dataset} {_lack_of(self.dataset)}")
        try:
            manifest = parse_manifest(data, self.dataset)
        except DatasetError as error:
            raise UsageError(str(error)) from error
        if self.name in manifest.caption_names:
            raise UsageError(
                f'the dataset has captions called "{self.name}": choose another name '
                "for the layer"
            )
        return manifest

    @property
    def base_shards(self) -> tuple[BaseShard, ...]:
        """Shards of the dataset, in the manifest's order."""
        return tuple(map(base_of, self.base.shards))

    @property
    def seed(self) -> int:
        """Seed of the order of the dataset's records."""
        return int(self.base.config["seed"])

    def fingerprint_fields(self) -> dict[str, Any]:
        """Returns every value that changes the output, as plain JSON values."""
        fields = super().fingerprint_fields()
        fields["columns"] = [column.spec for column in self.columns]
        base = dump_json([list(shard) for shard in self.base_shards])
        fields["base"] = hashlib.sha256(base).hexdigest()
        if not self.has_captions:
            for field in ("tokenizer", "tokenizer_sha256"):
                del fields[field]
        return fields


def _lack_of(folder: str) -> str:
    if is_folder(os.path.join(folder, BUILD_DIR)):
        return "is not finished: run its build again first"
    if not is_folder(folder):
        return "does not exist: pass the folder of a dataset"
    return f"is not a finished dataset (no {MANIFEST}): pass the folder of one"
