"""Clients of `gs://`, `s3://` and `az://`: one layer for both packages."""
