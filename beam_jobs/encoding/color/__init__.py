"""Reads the color spaces that image files state, and describes them by ICC profiles."""
