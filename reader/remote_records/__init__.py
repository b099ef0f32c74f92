"""Records of coming windows, fetched from object stores by exact byte ranges."""
