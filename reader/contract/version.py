"""Version of the distribution, alone in a file so that setup.cfg can read it."""

__version__ = "0.1.0"
