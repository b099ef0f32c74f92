"""Which record comes at which position: pure NumPy arithmetic, no files."""
