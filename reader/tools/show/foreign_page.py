"""`diptych show` of TFRecords that others wrote: what some of their records hold."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reader.console.formatting import counted, size_text, usual_batch_size
from reader.console.terminal import Terminal, printable, shortened
from reader.contract.record import parse_example
from reader.contract.schema import display_path
from reader.datasets.foreign_files import some_records
from reader.datasets.foreign_schema import ROLES, parsed_records
from reader.datasets.record_source import RecordSource, open_record_source
from reader.records.random_access import RecordFiles

_TYPES = {bytes: "bytes", int: "int64", float: "float32"}
_NAMES = {role: name for name, role in ROLES.items()}


def open_foreign(pattern: str) -> RecordSource:
    """Opens TFRecords that have no manifest.

    Raises:
        DatasetError: There are none, or they are damaged.
        UsageError: They are compressed.
    """
    return open_record_source([pattern], None, None, compressed=False)


def foreign_page(
    source: RecordSource, pattern: str, num_examples: int, terminal: Terminal
) -> Iterator[str]:
    """Yields the lines of a page.

    Raises:
        DatasetError: One of the first records is damaged, or no example.
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
    yield from _told(fields, pattern, terminal)
    for example in fields["examples"]:
        yield ""
        key = terminal.paint(printable(example["key"] or ""), "bold")
        yield f"record {example['number']}  {key}".rstrip()
        for caption in example["captions"]:
            yield f"  {shortened(printable(caption), terminal.width - 2)}"


def _features(fields: dict[str, Any], terminal: Terminal) -> Iterator[str]:
    some = fields["num_looked_at"] < fields["num_examples"]
    title = f"what {fields['num_looked_at']} of them hold" if some else "what they hold"
    names = [printable(feature["key"]) for feature in fields["features"]]
    width = max(map(len, (*names, title))) + 4
    heading = f"{title:<{width}}{'type':<10}{'values':>8}  load reads it as"
    yield terminal.paint(heading, "bold", "cyan")
    for name, feature in zip(names, fields["features"], strict=True):
        values = f"{feature['min_values']:,}"
        if feature["max_values"] > feature["min_values"]:
            values += f" to {feature['max_values']:,}"
        row = f"  {name:<{width - 2}}{feature['dtype'] or '':<10}{values:>8}"
        yield f"{row}  {feature['read_as'] or ''}".rstrip()


def _told(fields: dict[str, Any], pattern: str, terminal: Terminal) -> Iterator[str]:
    found = {feature["read_as"] for feature in fields["features"]}
    yield ""
    if "image" not in found:
        label = terminal.paint("warning:", "bold", "yellow")
        yield f"{label} no feature has a usual name of an image: say features="
    yield terminal.paint("read it with", "bold", "cyan")
    batch_size = usual_batch_size(fields["num_examples"])
    call = f'"{printable(pattern)}", batch_size={batch_size}, image_size=224'
    if "image" not in found:
        call += ', features={"image": …}'
    elif "caption" in found and "ids" not in found:
        call += ', outputs=("image", "caption")'
    yield f"  reader.load({call})"


def foreign_fields(source: RecordSource, num_examples: int) -> dict[str, Any]:
    """Returns what a page shows, for JSON.

    Raises:
        DatasetError: One of the first records is damaged, or no example.
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
    held = [example.get(key, []) for example in examples]
    counts = [len(values) for values in held]
    return {
        "key": key,
        # None where none has a value: records do not tell of what type it would be.
        "dtype": next((_TYPES[type(values[0])] for values in held if values), None),
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
