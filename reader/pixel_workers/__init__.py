"""Processes that make the pixels of batches in shared memory."""
