"""Plans a run: config and record source → windows of this host, and resumable state."""
