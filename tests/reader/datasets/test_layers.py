"""Lists layers of a dataset, and joins their schema to that of the records."""

import dataclasses
from pathlib import Path

import pytest
from written_layers import write_layer

from reader.contract.additions.layer import caption_features, parse_layer
from reader.contract.manifest import Split
from reader.contract.schema import NAMES_OF_CAPTIONS
from reader.contract.statistics import Statistics, Tally
from reader.datasets.layers import list_layers
from reader.datasets.manifest_dataset import open_dataset
from reader.datasets.record_schema import record_schema_of, with_layer


def test_layers_are_listed_with_what_keeps_them_from_being_read(
    own_dataset: Path,
) -> None:
    assert list_layers(open_dataset(own_dataset)) == []
    write_layer(own_dataset, "b", {"score": ("float32", ())}, {})
    write_layer(own_dataset, "a")
    (own_dataset / "layers/unfinished/_build").mkdir(parents=True)
    (own_dataset / "layers/.hidden").mkdir()
    (own_dataset / "layers/notes.txt").touch()
    stale = write_layer(own_dataset, "stale") / "layer.json"
    crc = open_dataset(own_dataset).manifest.shards[0].crc32c
    stale.write_text(stale.read_text().replace(crc, "01234567"))
    found = {each.name: each for each in list_layers(open_dataset(own_dataset))}
    assert [*found] == ["a", "b", "stale", "unfinished"]
    layer = found["b"].layer
    assert layer is not None
    assert [each.key for each in layer.manifest.columns] == ["b/score"]
    assert found["a"].problem is None
    assert found["stale"].layer is found["unfinished"].layer is None
    assert "had 20 records and the checksum 01234567" in str(found["stale"].problem)
    assert "--name=stale --overwrite" in str(found["stale"].problem)
    assert "its job is running, was ended" in str(found["unfinished"].problem)
    assert [each.name for each in found.values() if each.in_progress] == ["unfinished"]


@pytest.mark.parametrize("replaces", [(), ("captions",)])
def test_captions_of_a_layer_replace_those_of_the_records_or_stand_beside(
    own_dataset: Path, replaces: tuple[str, ...]
) -> None:
    dataset = open_dataset(own_dataset)
    path = write_layer(own_dataset, "new", {"score": ("float16", (3,))}) / "layer.json"
    layer = dataclasses.replace(
        parse_layer(path.read_bytes(), str(path)), replaces=replaces
    )
    spec = dataclasses.replace(dataset.manifest.tokenizer, sha256="other")
    layer = dataclasses.replace(
        layer,
        features=(*caption_features("new"), *layer.features),
        tokenizer=spec,
        statistics={"train": Statistics(captions=Tally.of([7]))},
    )
    splits: list[Split] = list(dataset.manifest.splits)
    own = record_schema_of(dataset.manifest, splits)
    named = NAMES_OF_CAPTIONS.role
    own = dataclasses.replace(own, features={**own.features, named: NAMES_OF_CAPTIONS})
    joined = with_layer(own, layer, splits)
    assert joined.features["new/score"].shape == (3,)
    assert joined.features["new/present"].dtype == "int64"
    texts, ids, lengths = caption_features("new")
    roles = dict(
        zip(
            ("captions", "token_ids", "token_lengths"),
            caption_features("new"),
            strict=True,
        )
    )
    if replaces:
        assert {role: joined.features[role] for role in roles} == roles
        assert named not in joined.features
        assert (joined.tokenizer, joined.captions) == (spec, Tally.of([7]))
    else:
        keys = ("new/caption", "new/ids", "new/lengths")
        assert tuple(joined.features[key] for key in keys) == (texts, ids, lengths)
        unchanged = {role: joined.features[role] for role in own.features}
        assert unchanged == own.features
        assert (joined.tokenizer, joined.captions) == (own.tokenizer, own.captions)
    assert joined.width == own.width
