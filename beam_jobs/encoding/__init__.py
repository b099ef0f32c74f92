"""Decodes, resizes and encodes images, and serializes pairs as examples."""
