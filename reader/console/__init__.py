"""What every command line shares: parser, exit status, terminal, formatting."""
