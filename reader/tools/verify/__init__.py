"""`diptych verify` and `reader.verify`: every checksum and count of a dataset."""
