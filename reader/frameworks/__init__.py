"""Batches for NumPy, JAX, PyTorch and Keras; one file per adapter."""
