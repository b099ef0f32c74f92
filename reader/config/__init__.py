"""`ReadConfig` and `ImageConfig`: the arguments of `load`, validated once."""
