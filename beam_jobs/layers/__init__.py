"""Layers: rows of tables or other tokens → features beside a finished dataset."""
