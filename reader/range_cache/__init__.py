"""A bounded cache of ranges of shards on a local disk, for all processes of a host."""
