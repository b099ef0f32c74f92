"""What layers add to a record, for people."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from reader.console.terminal import Terminal, printable, shortened
from reader.contract.additions.layer import CAPTION, IDS, LENGTHS, present_feature
from reader.contract.record import parse_features
from reader.contract.schema import Feature
from reader.datasets.record_index import LayerFiles


def added_values(record: bytes, layers: Iterable[LayerFiles]) -> dict[str, Any]:
    """Returns the values that layers add to a record, by the keys of their features.

    Args:
        record: Record that is joined with those of the layers.
        layers: The layers. One that adds nothing to the record has no values.

    Raises:
        ValueError: A feature has another type or number of values.
    """
    added: dict[str, Any] = {}
    for layer in layers:
        present = present_feature(layer.name)
        if parse_features(record, [present])[present.key] == [1]:
            values = parse_features(record, layer.features)
            added |= {
                each.key: _shown(values[each.key], each) for each in layer.features
            }
    return added


def _shown(values: list[Any], feature: Feature) -> Any:
    if feature.dtype == "bytes":
        values = [value.decode("utf-8", "replace") for value in values]
    elif feature.dtype != "int64":
        # As short as the stored number can be written: 0.3, not 0.30000001192092896.
        kind = np.dtype(feature.dtype).type
        values = [float(str(kind(value))) for value in values]
    return values if feature.shape else values[0]


def value_lines(added: Mapping[str, Any], terminal: Terminal) -> Iterator[str]:
    """Yields a line of text for each caption, and for each value of a column."""
    for key, value in added.items():
        layer, _, name = key.rpartition("/")
        if name == CAPTION:
            lengths = added[f"{layer}/{LENGTHS}"]
            for caption, num in zip(value, lengths, strict=True):
                yield f'{printable(key)}  "{printable(caption)}" ({num} tokens)'
        elif name not in (IDS, LENGTHS):
            text = f"{printable(key)}  {printable(str(value))}"
            yield shortened(text, terminal.width - 2)
