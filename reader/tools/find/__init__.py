"""Implements `diptych find`: locates a key, checksum or source file in a dataset."""
