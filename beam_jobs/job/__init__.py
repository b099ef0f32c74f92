"""One build on the launcher: prepare output, run pipelines, resume, report."""
