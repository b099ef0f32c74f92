"""How long tests wait for what has no other sign: far longer than it takes."""

# For what is soon, which is two seconds on a machine that has nothing else to do.
SOON_SECONDS = 15
# For what takes as long as it takes.
PATIENCE_SECONDS = 300
