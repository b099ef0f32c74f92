"""`diptych bench`: reading speed per stage, and what to change."""
