"""What is added to a finished dataset, beside its shards: selections and layers."""
