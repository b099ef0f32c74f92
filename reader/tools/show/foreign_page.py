"""Formats foreign TFRecords (written by other tools) for `diptych show`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reader.console.formatting import counted, size_text, usual_batch_size
from reader.console.terminal import Terminal, printable, shortened
from reader.contract.record import parse_example
from reader.contract.schema import display_path
from reader.datasets.foreign_files import some_records
from reader.datasets.foreign_schema import ROLES, parsed_records
from reader.datasets.open_sources import open_record_source
from reader.datasets.record_source import RecordSource
from reader.records.random_access import RecordFiles

_TYPES = {bytes: "bytes", int: "int64", float: "float32"}
_NAMES = {role: name for name, role in ROLES.items()}


def open_foreign(pattern: str) -> RecordSource:
    """Opens TFRecords that have no manifest.

    Raises:
        DatasetError: No file matches the pattern, or a file is damaged.
        UsageError: The files are compressed.
    """
    return open_record_source([pattern], None, None, compressed=False)


def foreign_page(
    source: RecordSource, pattern: str, num_examples: int, terminal: Terminal
) -> Iterator[str]:
    """Yields lines of text about foreign TFRecords.

    Args:
        source: Opened TFRecords.
        pattern: Glob of the files, to be displayed.
        num_examples: Number of records to show.
        terminal: Output terminal, for its width and colors.

    Raises:
        DatasetError: One of the first records is damaged or is not a
            `tf.train.Example`.
    """
    fields = foreign_fields(source, num_examples)
    yield f"TFRecords without a manifest: {printable(pattern)}"
    files = counted(len(source.shards), "file")
    yield (
        f"{counted(source.num_examples, 'record')} in {files}, "
        f"{size_text(source.num_bytes)}"
    )
    yield ""
    yield from _features(fields, terminal)
    yield from _loading(fields, pattern, terminal)
    for example in fields["examples"]:
        yield ""
        key = terminal.paint(printable(example["key"] or ""), "bold")
        yield f"record {example['number']}  {key}".rstrip()
        for caption in example["captions"]:
            yield f"  {shortened(printable(caption), terminal.width - 2)}"


def _features(fields: dict[str, Any], terminal: Terminal) -> Iterator[str]:
    num = fields["num_looked_at"]
    title = f"features of {num} records" if num < fields["num_examples"] else "features"
    names = [printable(feature["key"]) for feature in fields["features"]]
    width = max(map(len, (*names, title))) + 4
    heading = f"{title:<{width}}{'type':<10}{'values':>8}  loaded as"
    yield terminal.paint(heading, "bold", "cyan")
    for name, feature in zip(names, fields["features"], strict=True):
        values = f"{feature['min_values']:,}"
        if feature["max_values"] > feature["min_values"]:
            values += f" to {feature['max_values']:,}"
        row = f"  {name:<{width - 2}}{feature['dtype'] or '':<10}{values:>8}"
        yield f"{row}  {feature['read_as'] or ''}".rstrip()


def _loading(fields: dict[str, Any], pattern: str, terminal: Terminal) -> Iterator[str]:
    found = {feature["read_as"] for feature in fields["features"]}
    yield ""
    if "image" not in found:
        label = terminal.paint("warning:", "bold", "yellow")
        yield f"{label} no feature has a usual name for images: pass features="
    yield terminal.paint("read it with", "bold", "cyan")
    batch_size = usual_batch_size(fields["num_examples"])
    call = f'"{printable(pattern)}", batch_size={batch_size}, image_size=224'
    if "image" not in found:
        call += ', features={"image": …}'
    elif "caption" in found and "ids" not in found:
        call += ', outputs=("image", "caption")'
    yield f"  reader.load({call})"


def foreign_fields(source: RecordSource, num_examples: int) -> dict[str, Any]:
    """Returns the content of `foreign_page`, as JSON values.

    Raises:
        DatasetError: One of the first records is damaged or is not a
            `tf.train.Example`.
    """
    files = RecordFiles(source)
    read_as = {
        feature.key: _NAMES[role]
        for role, feature in source.record_schema.features.items()
    }
    inspected = parsed_records(some_records(source.shards, tolerant=False), source.name)
    return {
        "num_examples": source.num_examples,
        "num_bytes": source.num_bytes,
        "files": [shard.path for shard in source.shards],
        "num_looked_at": len(inspected),
        "features": [
            _feature(key, inspected) | {"read_as": read_as.get(key)}
            for key in sorted({key for example in inspected for key in example})
        ],
        "examples": [
            _example(source, files, number)
            for number in range(min(num_examples, source.num_examples))
        ],
    }


def _feature(key: str, examples: Sequence[Mapping[str, list[Any]]]) -> dict[str, Any]:
    values_of_all = [example.get(key, []) for example in examples]
    counts = [len(values) for values in values_of_all]
    return {
        "key": key,
        # None if every record has an empty list: the type cannot be inferred.
        "dtype": next(
            (_TYPES[type(values[0])] for values in values_of_all if values), None
        ),
        "min_values": min(counts),
        "max_values": max(counts),
    }


def _example(source: RecordSource, files: RecordFiles, number: int) -> dict[str, Any]:
    record = files.read(number)
    try:
        values = parse_example(record)
    except ValueError as error:
        raise files.unusable(number, record, error) from error
    texts = {
        role: [
            display_path(value) if isinstance(value, bytes) else str(value)
            for value in values.get(source.record_schema.features[role].key, ())
        ]
        for role in ("key", "captions")
        if role in source.record_schema.features
    }
    key = next(iter(texts.get("key", ())), None)
    return {"number": number, "key": key, "captions": texts.get("captions", [])}
