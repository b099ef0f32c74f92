"""`diptych show` of TFRecords that others wrote: what their first records hold."""

from collections.abc import Iterator
from typing import Any

from reader.contract.record import parse_example
from reader.contract.schema import display_path
from reader.contract.terminal import Terminal, printable, shortened
from reader.contract.text import counted, size_text
from reader.corpus import Corpus, open_corpus
from reader.foreign import ROLES
from reader.record_files import RecordFiles

_TYPES = {bytes: "bytes", int: "int64", float: "float32"}
_NAMES = {role: name for name, role in ROLES.items()}


def open_foreign(pattern: str) -> Corpus:
    """Opens TFRecords that have no manifest.

    Raises:
        DatasetError: There are none, or they are damaged.
        UsageError: They are compressed.
    """
    return open_corpus([pattern], None, None, compressed=False)


def foreign_page(
    corpus: Corpus, pattern: str, num_examples: int, terminal: Terminal
) -> Iterator[str]:
    """Yields the lines of a page.

    Raises:
        DatasetError: One of the first records is damaged.
    """
    fields = foreign_fields(corpus, num_examples)
    yield f"TFRecords without a manifest: {printable(pattern)}"
    files = counted(len(corpus.shards), "file")
    yield (
        f"{counted(corpus.num_examples, 'record')} in {files}, "
        f"{size_text(corpus.num_bytes)}"
    )
    yield ""
    yield terminal.paint(
        f"{'the first holds':<32}{'type':<10}{'values':>8}  load reads it as",
        "bold",
        "cyan",
    )
    for feature in fields["features"]:
        name = f"  {printable(feature['key']):<30}{feature['dtype']:<10}"
        yield f"{name}{feature['num_values']:>8,}  {feature['read_as'] or ''}".rstrip()
    yield from _told(fields, pattern, terminal)
    for example in fields["examples"]:
        yield ""
        key = terminal.paint(printable(example["key"] or ""), "bold")
        yield f"record {example['number']}  {key}".rstrip()
        for caption in example["captions"]:
            yield f"  {shortened(printable(caption), terminal.width - 2)}"


def _told(fields: dict[str, Any], pattern: str, terminal: Terminal) -> Iterator[str]:
    found = {feature["read_as"] for feature in fields["features"]}
    yield ""
    if "image" not in found:
        label = terminal.paint("warning:", "bold", "yellow")
        yield f"{label} no feature has a usual name of an image: say features="
    yield terminal.paint("read it with", "bold", "cyan")
    lacking = "" if "image" in found else ', features={"image": …}'
    yield (
        f'  reader.load("{printable(pattern)}", batch_size=64, image_size=224{lacking})'
    )


def foreign_fields(corpus: Corpus, num_examples: int) -> dict[str, Any]:
    """Returns what a page shows, for JSON.

    Raises:
        DatasetError: One of the first records is damaged.
    """
    files = RecordFiles(corpus)
    read_as = {
        feature.key: _NAMES[role] for role, feature in corpus.content.features.items()
    }
    first = parse_example(files.read(0))
    return {
        "num_examples": corpus.num_examples,
        "num_bytes": corpus.num_bytes,
        "files": [shard.path for shard in corpus.shards],
        "features": [
            {
                "key": key,
                "dtype": _TYPES[type(values[0])] if values else None,
                "num_values": len(values),
                "read_as": read_as.get(key),
            }
            for key, values in sorted(first.items())
        ],
        "examples": [
            _example(corpus, files, number)
            for number in range(min(num_examples, corpus.num_examples))
        ],
    }


def _example(corpus: Corpus, files: RecordFiles, number: int) -> dict[str, Any]:
    values = parse_example(files.read(number))
    texts = {
        role: [
            display_path(value) if isinstance(value, bytes) else str(value)
            for value in values.get(corpus.content.features[role].key, ())
        ]
        for role in ("key", "captions")
        if role in corpus.content.features
    }
    key = next(iter(texts.get("key", ())), None)
    return {"number": number, "key": key, "captions": texts.get("captions", [])}
