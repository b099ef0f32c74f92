"""Tests `diptych bench`: consistent measurements, and the advice from them."""

import numpy as np
import pytest
from PIL import Image

from reader.tools.bench.advice import Figures, Gain, Stored, advise, worth_storing


@pytest.fixture(scope="module")
def large(build, tmp_path_factory):
    """Dataset of 32 images of 512 pixels, stored with JPEG quality 98."""
    source = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    for number in range(32):
        noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
        noise.resize((512, 512), Image.Resampling.BICUBIC).save(
            source / f"{number}.png"
        )
        (source / f"{number}.txt").write_text(f"picture {number}")
    return build(
        source, source, source / "out", image_size=512, jpeg_quality=98, num_shards=1
    )


@pytest.mark.slow
def test_the_stages_are_told_and_a_smaller_size_is_advised(diptych, large):
    args = ["bench", large, "--image_size=112", "--batch_size=16", "--seconds=4"]
    fields = diptych(*args, "--json").json
    names = [stage["name"] for stage in fields["stages"]]
    assert names == ["read", "CRC", "parse", "decode", "cast"]
    assert all(stage["cpu_us"] >= 0 for stage in fields["stages"])
    assert fields["images_per_core_second"] > 0
    assert fields["stored"]["quality"] == 98
    assert fields["stored"]["shorter_side"] == 512
    sizes = {trial["flags"]: trial for trial in fields["trials"]}
    assert set(sizes) == {"--image_size=128", "--jpeg_quality=90"}
    smaller = sizes["--image_size=128"]
    assert smaller["speedup"] > 1
    assert smaller["size"] < 0.3
    assert any("rebuild with --image_size=128" in line for line in fields["advice"])


@pytest.mark.slow
def test_a_table_is_printed(diptych, dataset):
    args = ["bench", dataset, "--split=validation", "--batch_size=4", "--seconds=1"]
    done = diptych(*args, "--dtype=uint8")
    assert done.status == 0
    assert "images/s" in done.out
    assert " cast " not in done.out
    assert "split=validation" in done.out


def test_what_cannot_be_measured_is_refused(diptych, dataset, tmp_path):
    assert diptych("bench", tmp_path).status == 1
    assert "got -1.0" in diptych("bench", dataset, "--seconds=-1").err
    for flag in ("--seconds=0", "--batch_size=0", "--image_size=0", "--dtype=int8"):
        assert diptych("bench", dataset, flag).status == 2, flag


# Advice.

STORED = Stored("jpeg", 90, 256, 25_000, False)
FIGURES = Figures(1_500, 2_000, 200_000, 0.1, 2.0, 2, 0.5)


def advice(figures=FIGURES, stored=STORED, gains=(), **settings):
    settings = {"image_size": 224, **settings}
    return [*advise(figures, stored, gains, settings)]


def test_there_is_nothing_to_change_where_all_is_well():
    assert advice() == []


@pytest.mark.parametrize(
    ("stored", "wanted", "flags"),
    [
        (STORED, 256, []),
        (STORED, 300, []),
        (STORED._replace(shorter_side=512), 256, ["--image_size=256"]),
        (STORED._replace(quality=95), 256, ["--jpeg_quality=90"]),
        (STORED._replace(format="raw", quality=None), 256, ["--image_format=jpeg"]),
        (STORED._replace(shorter_side=None), 256, []),
    ],
)
def test_ways_to_store_are_tried_where_they_may_gain(stored, wanted, flags):
    assert [*worth_storing(stored, wanted)] == flags


def test_uint8_is_advised_only_where_it_reads_faster():
    assert advice(FIGURES._replace(cast_share=0.3, per_second_uint8=1_400)) == []


def test_a_gain_within_the_noise_is_not_told():
    small = Gain("--jpeg_quality=90", 1.05, 0.9, 128)
    assert advice(gains=[small]) == []
    (line,) = advice(
        gains=[small._replace(size=0.6)], stored=STORED._replace(quality=95)
    )
    assert "stored with quality 95" in line


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"num_threads": 1}, "num_threads=1 leaves 1 of 2 cores"),
        ({"cores_used": 0.5, "per_second_read": 1_600}, {}, "copy the dataset to a"),
        ({"cores_used": 0.5}, {}, "the disk is not the bottleneck"),
        ({"cores_used": 0.5, "load": 7.5}, {}, "other processes use this machine"),
        ({"cast_share": 0.3}, {}, 'dtype="uint8" reads 2,000 images/s'),
        (
            {"per_second_read": 1_600},
            {"shuffle_bytes": 1 << 20},
            "shuffle_bytes=19 << 20",
        ),
    ],
)
def test_what_holds_it_up_is_told(change, settings, message):
    (line,) = advice(FIGURES._replace(**change), **settings)
    assert message in line


def test_a_bucket_is_to_be_kept_if_batches_waited_for_it():
    remote, busy = STORED._replace(remote=True), FIGURES._replace(cores_used=0.5)
    (line,) = advice(busy._replace(store_share=0.4), remote)
    assert "waited for it 40% of the time: pass cache=FOLDER" in line
    (line,) = advice(busy, remote)
    assert "the store is not the bottleneck" in line
