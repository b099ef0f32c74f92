"""A run: config and records -> the windows this host reads, and its state."""
