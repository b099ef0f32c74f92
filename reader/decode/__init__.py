"""Decodes serialized examples into arrays, in TensorFlow and in NumPy."""
