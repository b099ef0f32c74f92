"""The frozen, validated JobConfig, and the parsers of its values."""
