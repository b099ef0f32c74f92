"""What people run on a finished dataset; one folder per command."""
