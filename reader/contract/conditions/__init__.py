"""Conditions on the columns of `samples/` tables: from text to a mask of records."""
