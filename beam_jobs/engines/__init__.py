"""What runs a Beam pipeline, and what its workers install."""
