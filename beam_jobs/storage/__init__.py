"""Reads, lists and atomically publishes files, local or in an object store."""
