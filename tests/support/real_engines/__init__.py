"""Real engines for tests: had from registries, started, watched and stopped."""
