"""What the caller's pattern means: shards, record schema, index."""
