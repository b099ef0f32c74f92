"""Implements `diptych select`: chooses records of a dataset by columns or keys."""
