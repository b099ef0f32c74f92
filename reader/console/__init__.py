"""Parts shared by all commands: parser, exit status, terminal and formatting."""
