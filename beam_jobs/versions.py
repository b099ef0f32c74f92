"""Versions of the libraries that shape the bytes that are written."""

import cv2
import google.protobuf
import numpy as np
import PIL
import pyarrow
import simplejpeg

from reader.contract.version import __version__


def shaping_versions() -> dict[str, str]:
    """Returns `{library: version}`, ours among them.

    Asked of the modules: OpenCV comes under several names of distributions.
    """
    return {
        "diptych": __version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "protobuf": google.protobuf.__version__,
        "pyarrow": pyarrow.__version__,
        "simplejpeg": simplejpeg.__version__,
    }
