"""Implements `diptych verify` and `reader.verify`: all checksums and counts."""
