"""Selects the records to display and decodes their images and captions."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reader.contract import schema
from reader.contract.errors import DatasetError
from reader.contract.record import parse_example, parse_features
from reader.datasets.record_source import RecordSource
from reader.pixels.codecs import Pixels, decoder
from reader.records.random_access import RecordFiles
from reader.tools.report.captions import Row, Spelling

_LONGER_SIDE = 400
_MOST_BYTES = 36 << 10
_QUALITIES = (80, 60, 40)


class Thumbnail(NamedTuple):
    """A small image on the page.

    Attributes:
        uri: Image as a `data:` URI.
        width: Width in pixels.
        height: Height in pixels.
    """

    uri: str
    width: int
    height: int


def thumbnail_of(pixels: Pixels) -> Thumbnail:
    """Returns a JPEG of at most 400 pixels per side and 36 KiB.

    Args:
        pixels: Image, `uint8[height, width, 3]`; the aspect ratio is kept.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    side = _LONGER_SIDE
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3)
        for quality in _QUALITIES:
            data = _jpeg(image, quality)
            if len(data) <= _MOST_BYTES:
                text = base64.b64encode(data).decode()
                return Thumbnail(f"data:image/jpeg;base64,{text}", *image.size)
        # Noise stays large at every quality, so reduce the size.
        side //= 2


def _jpeg(image: "Image.Image", quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
    return file.getvalue()


_MOST_CAPTIONS = 5
_MOST_COLUMNS = 6
_MOST_VALUES = 4


class Caption(NamedTuple):
    """A caption and its stored tokens.

    Attributes:
        text: Text of the caption.
        row: Tokens to display.
        name: Name of the caption; empty if captions have no names.
    """

    text: str
    row: Row
    name: str = ""


class Example(NamedTuple):
    """A record to display.

    Attributes:
        split: Name of the record's split.
        number: Index of the record in its split.
        key: Key of the record, as displayable text.
        width: Width of the stored image in pixels.
        height: Height of the stored image in pixels.
        image_bytes: Size of the encoded image in bytes.
        thumbnail: Small version of the image; None if the record is damaged.
        captions: First captions.
        num_captions: Total number of captions.
        columns: First extra columns, `{name: value}`.
        problem: Description of damage to the record; empty if it is intact.
    """

    split: str
    number: int
    key: str = ""
    width: int = 0
    height: int = 0
    image_bytes: int = 0
    thumbnail: Thumbnail | None = None
    captions: tuple[Caption, ...] = ()
    num_captions: int = 0
    columns: Mapping[str, str] = {}
    problem: str = ""


def examples_of(
    record_sources: Mapping[str, RecordSource], num: int, spelling: Spelling
) -> Iterator[Example]:
    """Yields records spread evenly over each split. The selection is deterministic.

    A damaged record is yielded with a description of its problem.

    Args:
        record_sources: Record sources by split; each holds at least one record.
        num: Maximum number of records.
        spelling: Converts token ids to text.

    Raises:
        DatasetError: The index is damaged.
        UsageError: The library that decodes the images is not installed.
    """
    shares = _share_out(
        num, [source.num_examples for source in record_sources.values()]
    )
    for (split, source), share in zip(record_sources.items(), shares, strict=True):
        records = _Records(split, source, spelling)
        for place in range(share):
            number = (2 * place + 1) * source.num_examples // (2 * share)
            try:
                yield records.example(number)
            except DatasetError as error:
                # The page must not depend on the location of the dataset.
                problem = str(error).replace(f"{source.name}/", "")
                yield Example(split, number, problem=problem)


def _share_out(num: int, sizes: Sequence[int]) -> list[int]:
    """Returns how many of `num` examples to take from each split.

    The shares are proportional to the square roots of the sizes. So a validation split
    with 1% of the records still has 10% of the examples on the page.
    """
    shares = [0] * len(sizes)
    for _ in range(min(num, sum(sizes))):
        room = [k for k, size in enumerate(sizes) if shares[k] < size]
        shares[min(room, key=lambda k: (shares[k] + 1) / math.sqrt(sizes[k]))] += 1
    return shares


class _Records:
    """Reads the records of a split by index."""

    def __init__(self, split: str, source: RecordSource, spelling: Spelling) -> None:
        self._split = split
        columns = source.record_schema.extras[:_MOST_COLUMNS]
        self._columns = [source.record_schema.features[name] for name in columns]
        self._files = RecordFiles(source)
        self._decode = decoder(source.record_schema.image_format)
        self._spelling = spelling

    def example(self, number: int) -> Example:
        """Reads a record and returns its displayed fields.

        Raises:
            DatasetError: The record is damaged, or its shard is missing.
        """
        record = self._files.read(number)
        try:
            columns = parse_features(record, self._columns)
            return self._example(number, parse_example(record) | columns)
        except ValueError as error:
            raise self._files.unusable(number, record, error) from error

    def _example(self, number: int, values: Mapping[str, list[Any]]) -> Example:
        captions = [text.decode(errors="replace") for text in values[schema.CAPTIONS]]
        names = schema.names_in(values) or [""] * len(captions)
        both = list(zip(captions, _pieces(values), names, strict=False))
        return Example(
            self._split,
            number,
            key=schema.display_path(values[schema.KEY][0]),
            width=values[schema.WIDTH][0],
            height=values[schema.HEIGHT][0],
            image_bytes=len(values[schema.IMAGE][0]),
            thumbnail=thumbnail_of(self._decode(*self._image(values))),
            captions=tuple(
                Caption(text, self._spelling.row(ids), name)
                for text, ids, name in both[:_MOST_CAPTIONS]
            ),
            num_captions=len(captions),
            columns={
                column.key.removeprefix(schema.EXTRA): _column_text(values[column.key])
                for column in self._columns
            },
        )

    def _image(self, values: Mapping[str, list[Any]]) -> list[Any]:
        """Returns the decoder's arguments: encoded bytes, height and width."""
        return [values[n][0] for n in (schema.IMAGE, schema.HEIGHT, schema.WIDTH)]


def _pieces(values: Mapping[str, list[Any]]) -> Iterator[list[int]]:
    """Yields the token ids of each caption; a record stores them concatenated."""
    ids, begin = values[schema.TOKEN_IDS], 0
    for length in values[schema.TOKEN_LENGTHS]:
        yield ids[begin : begin + length]
        begin += length


def _column_text(values: Sequence[Any]) -> str:
    texts = [
        value.decode(errors="replace") if isinstance(value, bytes) else f"{value:.6g}"
        for value in values[:_MOST_VALUES]
    ]
    more = len(values) - len(texts)
    return ", ".join(texts) + (f", … ({more} more)" if more else "")


if TYPE_CHECKING:
    from PIL import Image
