"""TensorFlow leaves the accelerators to other frameworks."""

from typing import Any

import pytest
import tensorflow as tf
from framework_batches import STEPS, load

import reader


def test_tensorflow_takes_no_device_before_the_first_batch(aside):
    found, begun = aside, dict(aside["begun"])
    assert begun.pop("iterated")
    assert begun == dict.fromkeys(begun, False)
    assert found["hidden"] == [[[], "GPU"]] * 2
    assert "GPU" not in found["kinds"]
    assert found["num"] == STEPS


@pytest.mark.parametrize("name", ["as_jax", "as_torch"])
def test_gpus_that_tensorflow_has_taken_are_warned_about(small, monkeypatch, name):
    batches = load(small)

    def refuse(devices: Any, kind: str) -> None:
        raise RuntimeError("Visible devices cannot be modified after initialization")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    getattr(reader, name)(batches)  # No warning without a GPU.
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    with pytest.warns(UserWarning, match="already initialized the GPUs") as warned:
        getattr(reader, name)(batches)
    assert warned[0].filename == __file__


@pytest.mark.parametrize("name", ["as_numpy", "for_captioning", "for_retrieval"])
def test_who_trains_with_tensorflow_keeps_its_gpus(small, monkeypatch, name):
    hidden: list[Any] = []
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda *args: hidden.append(args)
    )
    getattr(reader, name)(load(small))
    assert not hidden
