"""Implements `diptych show`: schema, splits, accounting and examples of a dataset."""
