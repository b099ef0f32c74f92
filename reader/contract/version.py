"""Version of the distribution, in its own module because setup.cfg reads it."""

__version__ = "0.1.0"
