"""Makes the images of batches in TensorFlow's pipeline, by the pixel workers."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from reader.config.image_config import ImageConfig
from reader.pixel_workers.worker_pool import PixelWorkers
from reader.pixels.casts import black_row, row_dtype, row_shape
from reader.pixels.engine import PixelEngine
from reader.records.python_calls import Gone, call_python

Workers = weakref.ref[PixelWorkers[PixelEngine]]

# (encoded string[n], sizes int32[n, 2] or None, draws float64[n, k])
# → dtype[n, *row_shape]
MakePixels = Callable[[tf.Tensor, tf.Tensor | None, tf.Tensor], tf.Tensor]


def pixel_maker(workers: Workers, config: ImageConfig) -> MakePixels:
    """Returns a function that makes the images of a batch in one call.

    TensorFlow keeps functions for the life of the process, so the function does not
    keep the workers alive.

    Args:
        workers: Pixel workers; they belong to the Dataset.
        config: Image configuration.
    """
    make_sized, make_any = _Make(workers, has_sizes=True), _Make(workers)

    def make(
        encoded: tf.Tensor, sizes: tf.Tensor | None, draws: tf.Tensor
    ) -> tf.Tensor:
        dtype = tf.dtypes.as_dtype(row_dtype(config))
        if sizes is None:
            images = call_python(make_any, [encoded, draws], dtype)
        else:
            images = call_python(make_sized, [encoded, draws, sizes], dtype)
        images = tf.ensure_shape(images, (draws.shape[0], *row_shape(config)))
        return tf.bitcast(images, tf.bfloat16) if config.dtype == "bfloat16" else images

    return make


def black(config: ImageConfig) -> tf.Tensor:
    """Returns a black image, cast as those of a batch."""
    image = tf.constant(black_row(config))
    return tf.bitcast(image, tf.bfloat16) if config.dtype == "bfloat16" else image


class _Make:
    def __init__(
        self,
        workers: Workers,
        *,
        has_sizes: bool = False,
    ) -> None:
        self._workers, self._has_sizes = workers, has_sizes

    def __call__(
        self,
        encoded: NDArray[np.object_],
        draws: NDArray[np.float64],
        sizes: NDArray[np.int32] | None = None,
    ) -> NDArray[Any]:
        workers = self._workers()
        if workers is None:
            raise Gone
        return workers.make(encoded.tolist(), sizes, draws)
