"""Resolves the caller's pattern to shards, a record schema and an index."""
