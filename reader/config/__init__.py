"""ReadConfig and ImageConfig: every argument of `load`, validated once."""
