"""Writing pipeline: write shards → finalize. Also repairs a complete dataset."""
