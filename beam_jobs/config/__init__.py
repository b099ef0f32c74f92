"""JobConfig: one frozen, validated value; how its single values are parsed."""
