"""`diptych show`: a dataset's schema, splits, accounting and examples."""
