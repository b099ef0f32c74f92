"""Versions of the libraries that affect the bytes of a dataset."""

import contextlib
import importlib.metadata

import cv2
import google.protobuf
import numpy as np
import PIL
import pyarrow
import simplejpeg

from reader.contract.tokenizers.registry import libraries_of
from reader.contract.version import __version__

# Libraries that only images need, which a layer has none of.
_OF_IMAGES = ("opencv", "pillow", "pillow-heif", "simplejpeg")


def shaping_versions(tokenizer: str) -> dict[str, str]:
    """Returns the versions of the libraries that affect a record.

    The versions are read from the modules, because OpenCV is distributed under several
    package names.

    Args:
        tokenizer: Kind of the tokenizer, whose libraries are included.

    Returns:
        Versions as `{library: version}`, including Diptych itself.
    """
    ours = {
        "diptych": __version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "protobuf": google.protobuf.__version__,
        "pyarrow": pyarrow.__version__,
        "simplejpeg": simplejpeg.__version__,
    }
    more = {name: importlib.metadata.version(name) for name in libraries_of(tokenizer)}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        # Without it, HEIC images are rejected.
        more["pillow-heif"] = importlib.metadata.version("pillow-heif")
    return ours | more


def layer_versions(tokenizer: str) -> dict[str, str]:
    """Returns the versions of the libraries that affect a layer, as above.

    Args:
        tokenizer: Kind of the tokenizer, whose libraries are included.
    """
    shaping = shaping_versions(tokenizer)
    return {name: shaping[name] for name in shaping if name not in _OF_IMAGES}
