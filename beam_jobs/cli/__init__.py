"""`diptych build`, `demo` and `sample`: flags, and what is printed."""
