"""Implements `diptych bench`: reading speed per stage, and advice."""
