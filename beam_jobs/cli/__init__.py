"""The commands `diptych build`, `demo` and `sample`: flags and printed output."""
