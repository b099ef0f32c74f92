"""Second pipeline: write shards -> finalize; and repair of a finished dataset."""
