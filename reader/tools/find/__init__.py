"""`diptych find`: where a key, checksum or file is, or why it was rejected."""
