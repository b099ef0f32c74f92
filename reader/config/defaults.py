"""Defaults of `reader.load`, declared once and also shown in the help of commands.

This module imports nothing, so `--help` is fast.
"""

CROP = "center"
# A center crop of 224 pixels from an image of 256 pixels needs no resampling.
CROP_FRACTION = 0.875
CROP_SCALE = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
FLIP = False
DTYPE = "float32"
DATA_FORMAT = "channels_last"
MAX_TOKENS = 64
ADD_SPECIAL_TOKENS = True
CAPTION = "first"
MAX_CAPTIONS: int | None = None
BUCKET_BY_LENGTH = False
SHUFFLE = True
SEED = 0
SHUFFLE_BYTES = 64 << 20
# As `reader.shuffle.order.NUM_STREAMS`.
STREAMS = 192
EPOCHS: int | None = 1
START_STEP = 0
START_EXAMPLE: int | None = None
HOST_INDEX = 0
HOST_COUNT = 1
REMAINDER = "drop"
ON_CORRUPT = "raise"
NUM_THREADS: int | None = None
WORKERS: int | None = None
RAM_BUDGET: int | None = None
PREFETCH = 2
CACHE_BYTES: int | None = None
