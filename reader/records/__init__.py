"""Fetches the bytes of a window or of one record, and handles damage."""
