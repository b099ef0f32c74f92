"""Makes the clients of a bucket, for each vendor with its own credentials."""
