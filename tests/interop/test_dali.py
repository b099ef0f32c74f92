"""NVIDIA DALI reads shards with the text indexes, on the CPU."""

import sys

import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="NVIDIA builds DALI for Linux alone"
)


def read(folder, split):
    """Yields image, key, first caption, all ids and their lengths of each record."""
    from nvidia.dali import fn, pipeline_def
    from nvidia.dali import tfrecord as tfr

    shards = sorted(folder.glob(f"{split}-*.tfrecord"))
    text = tfr.FixedLenFeature((), tfr.string, "")
    whole = tfr.VarLenFeature([1], tfr.int64, 0)

    @pipeline_def(batch_size=4, num_threads=2, device_id=None)
    def pipeline():
        record = fn.readers.tfrecord(
            path=[str(shard) for shard in shards],
            index_path=[str(folder / "index" / f"{s.name}.idx") for s in shards],
            features={
                "image/encoded": text,
                "image/source_id": text,
                "image/caption": text,
                "caption/ids": whole,
                "caption/lengths": whole,
            },
            name="reader",
        )
        image = fn.decoders.image(record["image/encoded"], device="cpu")
        names = ("image/source_id", "image/caption", "caption/ids", "caption/lengths")
        return image, *(record[name] for name in names)

    reading = pipeline()
    reading.build()
    left = reading.epoch_size("reader")
    while left > 0:
        batch = reading.run()
        for place in range(min(left, 4)):
            yield tuple(np.array(output.at(place)) for output in batch)
        left -= 4


@pytest.mark.parametrize("name", ["published", "scattered"])
def test_every_record_of_a_split_is_read(request, expected, name):
    folder = request.getfixturevalue(name)
    records = expected(folder, "train")
    found = list(read(folder, "train"))
    assert len(found) == len(records)
    for image, key, caption, ids, lengths in found:
        record = records.pop(key.tobytes().decode())
        pixels = tf.io.decode_jpeg(
            record["image/encoded"][0], dct_method="INTEGER_ACCURATE"
        )
        np.testing.assert_array_equal(image, pixels)
        assert caption.tobytes() == record["image/caption"][0]
        assert ids.ravel().tolist() == record["caption/ids"]
        assert lengths.ravel().tolist() == record["caption/lengths"]
    assert not records
