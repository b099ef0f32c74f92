"""Addresses of objects, for the rooms above: only storage uses the store layer."""

from reader.object_stores.protocol import SCHEMES, scheme_of, split_path

__all__ = ["SCHEMES", "scheme_of", "split_path"]
