"""Bounds on one request, the same on every surface."""

from typing import Final

MAX_ANSWERS: Final = 4  # `best_of`, `n`
MAX_STOPS: Final = 8
MAX_STOP_CHARS: Final = 64
MAX_TOP_TOKENS: Final = 5
MAX_BATCH: Final = 4  # instances of one body
MAX_LOGIT_BIAS: Final = 300
