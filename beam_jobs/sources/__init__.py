"""Source types, one module each. A source type lists the entries to pair."""
