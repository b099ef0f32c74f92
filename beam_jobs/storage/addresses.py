"""Addresses of objects, for the rooms above: only storage uses the store layer."""

from reader.object_stores.protocol import SCHEMES, check_address, scheme_of, split_path

# The Hugging Face hub, which is read only.
HUB = "hf"
SOURCE_SCHEMES = (*SCHEMES, HUB)

__all__ = [
    "HUB",
    "SCHEMES",
    "SOURCE_SCHEMES",
    "check_address",
    "scheme_of",
    "split_path",
]
