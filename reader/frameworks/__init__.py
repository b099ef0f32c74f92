"""Adapts batches to NumPy, JAX, PyTorch and Keras, one module per framework."""
