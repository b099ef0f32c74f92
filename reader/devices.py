"""TensorFlow as the loader only: it leaves the accelerators to whoever trains."""

import warnings

import tensorflow as tf


def leave_accelerators() -> None:
    """Keeps TensorFlow from GPUs, which it would otherwise fill at its first operation.

    Warns where that has happened already.
    """
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:  # It has looked at its devices, and they stay as they are.
        if tf.config.list_logical_devices("GPU"):
            warnings.warn(
                "TensorFlow has taken the GPUs already, so there may be no memory left "
                'on them: call tf.config.set_visible_devices([], "GPU") first of all',
                stacklevel=3,
            )
