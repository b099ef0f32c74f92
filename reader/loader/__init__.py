"""Implements `reader.load`: connects shuffle, records and decode to a Dataset."""
