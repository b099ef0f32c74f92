"""Distributions of values: their histograms, and statistics of table columns."""
