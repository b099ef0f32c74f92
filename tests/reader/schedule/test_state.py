import json
from typing import Any

import pytest

from reader.config.image_config import ImageConfig
from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError
from reader.datasets.record_index import ShardFile
from reader.schedule.state import check_state, fingerprint, identity_of
from reader.shuffle.order import PLAN_VERSION

RECORDS = "0123456789abcdef"
# sha256sum of [192, [["train-00000-of-00001.tfrecord", 9, "crc32c:1"]], []].
FINGERPRINT = "8bbd8fc7fcd91796a3380087533daecb"


def identity(records: str = RECORDS, **settings: Any) -> dict[str, Any]:
    return identity_of(ReadConfig(**{"batch_size": 8, **settings}), records, None)


def state(
    examples: int = 80, step: int = 10, records: str = RECORDS, **settings: Any
) -> dict[str, Any]:
    return {**identity(records, **settings), "examples": examples, "step": step}


def shard(
    path: str = "out/train-00000-of-00001.tfrecord",
    num_examples: int = 9,
    num_bytes: int = 900,
    checksum: str = "crc32c:1",
) -> ShardFile:
    def offsets() -> Any:
        raise AssertionError("no offset is needed")

    return ShardFile(path, num_examples, num_bytes, checksum, offsets)


def refusal(state: object, identity: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        check_state(state, identity)
    return str(caught.value)


def test_a_state_of_the_same_order_says_where_to_go_on() -> None:
    assert check_state(state(80, 10), identity()) == (80, 10)
    assert check_state(state(0, 0), identity()) == (0, 0)


@pytest.mark.parametrize("encode", [str, str.encode])
def test_a_state_may_be_its_json(encode: Any) -> None:
    text = json.dumps(state(10**12, 7))
    assert check_state(encode(text), identity()) == (10**12, 7)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 24},
        {"host_count": 4, "host_index": 3},
        {"remainder": "pad"},
        {"on_corrupt": "skip"},
        {"epochs": None},
        {"images": ImageConfig(size=(16, 16), crop="random", flip=True)},
        {"caption": "random"},
        {"outputs": ("key",)},
        {"max_tokens": 9},
    ],
)
def test_what_does_not_decide_the_order_may_change(settings: dict[str, Any]) -> None:
    assert check_state(state(80, 10), identity(**settings)) == (80, 10)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("seed", 1, 2),
        ("shuffle_bytes", 1 << 20, 1 << 21),
        ("shuffle", True, False),
        ("shuffle", False, True),
        ("bucket_by_length", True, False),
        ("bucket_by_length", False, True),
    ],
)
def test_another_order_is_refused_by_name(name: str, old: Any, new: Any) -> None:
    message = refusal(state(**{name: old}), identity(**{name: new}))
    assert f"{name}={old!r}" in message
    assert f"{name}={new!r}" in message
    assert message.startswith("resume: ")
    as_json = refusal(json.dumps(state(**{name: old})), identity(**{name: new}))
    assert as_json == message


def test_only_what_differs_is_named() -> None:
    message = refusal(state(seed=3), identity(seed=4))
    for name in ("shuffle_bytes", "bucket_by_length", "fingerprint", "version"):
        assert name not in message


def test_other_records_are_refused() -> None:
    message = refusal(state(records="aaaa"), identity("bbbb"))
    assert "other records" in message
    assert "aaaa" in message
    assert "bbbb" in message


def test_a_state_of_another_plan_version_is_refused() -> None:
    old = {**state(), "plan_version": PLAN_VERSION + 1}
    message = refusal(old, identity())
    assert f"plan version {PLAN_VERSION + 1}" in message
    assert f"is {PLAN_VERSION}" in message


def test_weights_are_compared_where_there_are_any() -> None:
    mixture = {**identity(), "weights": [3072, 1024]}
    assert check_state({**state(), "weights": [3072, 1024]}, mixture) == (80, 10)
    for saved, resumed in [
        ({**state(), "weights": [2048, 2048]}, mixture),
        ({**state(), "weights": [3072, 1024]}, identity()),
        (state(), mixture),
    ]:
        assert "weights=" in refusal(saved, resumed)


def test_without_shuffling_the_seed_decides_nothing() -> None:
    saved = state(shuffle=False, seed=1, shuffle_bytes=1 << 20)
    resumed = identity(shuffle=False, seed=2, shuffle_bytes=1 << 21)
    assert check_state(saved, resumed) == (80, 10)


@pytest.mark.parametrize(
    "missing", ["seed", "shuffle_bytes", "shuffle", "fingerprint", "plan_version"]
)
def test_a_state_that_lacks_something_is_refused(missing: str) -> None:
    saved = state()
    del saved[missing]
    assert missing.replace("_", " ") in refusal(saved, identity()).replace("_", " ")


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        17,
        "",
        "17",
        "not JSON",
        "[]",
        "null",
        b"\xff\xfe",
        [],
        {},
        {"examples": 3},
        {"step": 3},
        {**state(), "examples": -1},
        {**state(), "step": -1},
        {**state(), "examples": 1.0},
        {**state(), "step": True},
        {**state(), "examples": "80"},
        {**state(), "step": None},
    ],
)
def test_what_is_no_state_is_refused_and_shown(nonsense: object) -> None:
    message = refusal(nonsense, identity())
    assert "resume must be a state returned by reader.state" in message
    assert repr(nonsense) in message


def test_an_identity_survives_json() -> None:
    saved = identity(seed=2**70, bucket_by_length=True)
    assert json.loads(json.dumps(saved)) == saved


def test_records_in_another_folder_are_the_same() -> None:
    name = "train-00000-of-00001.tfrecord"
    prints = {
        fingerprint([shard(f"{folder}{name}")], ())
        for folder in ("", "out/", "/mnt/elsewhere/", "gs://bucket/out/")
    }
    assert len(prints) == 1


def test_other_records_have_another_fingerprint() -> None:
    a, b = shard("out/a"), shard("out/b")
    prints = [
        fingerprint(shards, parts)
        for shards, parts in [
            ([a, b], ()),
            ([b, a], ()),
            ([a], ()),
            ([a, a], ()),
            ([], ()),
            ([a, shard("out/c")], ()),
            ([a, shard("out/b", num_examples=10)], ()),
            ([a, shard("out/b", checksum="crc32c:2")], ()),
            ([a, b], (2,)),
            ([a, b], (1, 1)),
        ]
    ]
    assert len(set(prints)) == len(prints)


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    shards = [shard("x/train-00000-of-00001.tfrecord", 9, 900, "crc32c:1")]
    assert fingerprint(shards, ()) == FINGERPRINT
