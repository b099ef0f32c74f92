"""Which records are shown, and what of them."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reader.contract import schema
from reader.contract.errors import DatasetError
from reader.contract.record import parse_example
from reader.datasets.record_source import RecordSource
from reader.decode.numpy_images import Pixels, decoder
from reader.records.random_access import RecordFiles
from reader.tools.report.captions import Row, Spelling

_LONGER_SIDE = 400
_MOST_BYTES = 36 << 10
_QUALITIES = (80, 60, 40)


class Thumbnail(NamedTuple):
    """A picture on the page: a `data:` address, and its size in pixels."""

    uri: str
    width: int
    height: int


def thumbnail_of(pixels: Pixels) -> Thumbnail:
    """Returns a picture of at most 400 pixels and 36 KiB; its shape is kept."""
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
        # Noise: no quality makes it small.
        side //= 2


def _jpeg(image: "Image.Image", quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
    return file.getvalue()


_MOST_CAPTIONS = 5
_MOST_COLUMNS = 6
_MOST_VALUES = 4


class Caption(NamedTuple):
    """A caption, and the tokens that are stored for it."""

    text: str
    row: Row


class Example(NamedTuple):
    """A record to look at.

    Attributes:
        split: That it belongs to.
        number: Of the record in its split.
        key: As it is shown.
        width, height: Of the image as stored, in pixels.
        image_bytes: Of the encoded image.
        thumbnail: The image, small; None if it cannot be decoded.
        captions: The first few.
        num_captions: That there are.
        columns: The first few that were carried through: `{name: value}`.
        problem: What is wrong with the record; empty if nothing is.
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
    """Yields records spread evenly over each split: the same ones every time.

    A damaged record is yielded with what is wrong with it.

    Args:
        record_sources: By split; none without records.
        num: Of records, fewer if there are not as many.
        spelling: Makes tokens of ids.

    Raises:
        DatasetError: The index is damaged.
        UsageError: A library that decodes the images is not installed.
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
                # Where the dataset lies is no part of what it is.
                problem = str(error).replace(f"{source.name}/", "")
                yield Example(split, number, problem=problem)


def _share_out(num: int, sizes: Sequence[int]) -> list[int]:
    """Returns how many of `num` examples to take of each split.

    In proportion to the square roots of their sizes: a validation split of a hundredth
    is a tenth of the page, enough to be looked at.
    """
    shares = [0] * len(sizes)
    for _ in range(min(num, sum(sizes))):
        room = [k for k, size in enumerate(sizes) if shares[k] < size]
        shares[min(room, key=lambda k: (shares[k] + 1) / math.sqrt(sizes[k]))] += 1
    return shares


class _Records:
    """The records of a split, by their number."""

    def __init__(self, split: str, source: RecordSource, spelling: Spelling) -> None:
        self._split = split
        self._record_schema = source.record_schema
        self._files = RecordFiles(source)
        self._decode = decoder(source.record_schema.image_format)
        self._spelling = spelling

    def example(self, number: int) -> Example:
        """Returns what is shown of a record.

        Raises:
            DatasetError: It is damaged, or its shard is missing.
        """
        record = self._files.read(number)
        try:
            return self._example(number, parse_example(record))
        except ValueError as error:
            raise self._files.unusable(number, record, error) from error

    def _example(self, number: int, values: Mapping[str, list[Any]]) -> Example:
        captions = [text.decode(errors="replace") for text in values[schema.CAPTIONS]]
        both = list(zip(captions, _pieces(values), strict=False))
        return Example(
            self._split,
            number,
            key=schema.display_path(values[schema.KEY][0]),
            width=values[schema.WIDTH][0],
            height=values[schema.HEIGHT][0],
            image_bytes=len(values[schema.IMAGE][0]),
            thumbnail=thumbnail_of(self._decode(*self._image(values))),
            captions=tuple(
                Caption(text, self._spelling.row(ids))
                for text, ids in both[:_MOST_CAPTIONS]
            ),
            num_captions=len(captions),
            columns={
                name.removeprefix(schema.EXTRA): _column_text(values.get(name, []))
                for name in self._record_schema.extras[:_MOST_COLUMNS]
            },
        )

    def _image(self, values: Mapping[str, list[Any]]) -> list[Any]:
        """Returns the decoder's arguments: encoded bytes, height and width."""
        return [values[n][0] for n in (schema.IMAGE, schema.HEIGHT, schema.WIDTH)]


def _pieces(values: Mapping[str, list[Any]]) -> Iterator[list[int]]:
    """Yields the ids of each caption; they are stored one after the other."""
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
