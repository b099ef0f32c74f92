"""One pair in, one serialized example out; the only room that knows pixels."""
