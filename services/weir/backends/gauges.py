"""What Weir's model under Triton publishes of its load, read from Triton's metrics: its gRPC side tells no queue."""

import re
from contextlib import suppress
from typing import Final

from weir.backends.http_wire import GoneError, Pool, SilenceError, WireError

_SAMPLE: Final = re.compile(
    rb'^weir_triton_(?:queue_depth|running)\{[^}\n]*model="([^"]*)"[^}\n]*\} (\S+)$', re.MULTILINE
)
_TIMEOUT_S: Final = 0.5
_MOST_BYTES: Final = 4 << 20


class Gauges:
    """`GET /metrics` at `url`."""

    def __init__(self, url: str) -> None:
        self._pool = Pool(url, connect_timeout_s=_TIMEOUT_S)

    async def present(self, model: str) -> int | None:
        """Return how many requests of a model wait or run, in all its versions; none: nobody says."""
        raw = self._pool.request(b"GET", b"/metrics")
        with suppress(GoneError, SilenceError, WireError, ValueError):
            status, _, body = await self._pool.exchange(raw, timeout_s=_TIMEOUT_S, max_bytes=_MOST_BYTES)
            found = [float(value) for name, value in _SAMPLE.findall(body) if name == model.encode()]
            if status == 200 and found:
                return int(sum(found))
        return None

    def close(self) -> None:
        self._pool.close()
