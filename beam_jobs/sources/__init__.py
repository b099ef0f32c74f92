"""Kinds of input, a module each; each lists what there is to be paired."""
