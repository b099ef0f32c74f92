"""The commands that need no Beam, a module for each: its flags, and what it prints."""
