"""Manages the files that a running job keeps in `_build/`."""
