"""Reads bytes: local, gs:// and s3:// files, and TFRecord files record by record."""
