"""Everything a running job keeps under `_build/`."""
