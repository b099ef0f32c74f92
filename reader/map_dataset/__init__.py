"""`reader.open`: random access without TensorFlow."""
