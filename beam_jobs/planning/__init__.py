"""Planning pipeline: list → pair → deduplicate → count words → close the plan."""
