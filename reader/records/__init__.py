"""Reads the bytes of a window or of a single record, and handles damaged records."""
