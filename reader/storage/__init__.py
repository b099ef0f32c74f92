"""Reads bytes: files, local or in a bucket, and TFRecord files record by record."""
