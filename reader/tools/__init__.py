"""Command-line tools for finished datasets, one folder per command."""
