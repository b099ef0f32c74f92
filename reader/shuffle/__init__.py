"""The order of records and their random numbers, computed with NumPy without files."""
