"""Chosen records of a dataset: selections on disk, and conditions on columns."""
