"""Reads untrusted inputs: captions, paths and globs, table rows, tar members."""
