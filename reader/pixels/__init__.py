"""Makes pixels from stored images: decodes, crops, resamples, flips and casts them."""
