"""Serialized examples -> arrays, in TensorFlow and in NumPy."""
