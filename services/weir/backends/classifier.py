"""A classifier on a node, over HTTP: texts in, scores out (`weir.oip.infer`)."""

from collections.abc import Sequence
from typing import Final, Protocol

from weir.backends.http_wire import GoneError, Pool, SilenceError, WireError
from weir.contracts.errors import BackendError, BackendTimeoutError, BackendUnavailableError, OverloadedError
from weir.oip.infer import Scored, infer_request, read_scored

_MAX_REPLY_BYTES: Final = 1 << 20


class Classifier(Protocol):
    """Scores texts."""

    async def scored(self, texts: Sequence[str], *, timeout_s: float) -> Scored:
        """Return a score from 0 to 1 for each text; cancelling the call cancels the work.

        Raises:
            OverloadedError: too much waits there.
            BackendTimeoutError: no answer within `timeout_s` seconds.
            BackendUnavailableError: it cannot be reached, or went away.
            BackendError: it refused, failed, or does not speak the protocol.
        """
        ...

    async def aclose(self) -> None: ...


class HttpClassifier:
    """A node that serves `model`; connections are kept between calls."""

    def __init__(self, url: str, model: str, *, connect_timeout_s: float = 1.0) -> None:
        self._pool = Pool(url, connect_timeout_s=connect_timeout_s)
        self._path = f"/v2/models/{model}/infer".encode()

    async def scored(self, texts: Sequence[str], *, timeout_s: float) -> Scored:
        raw = self._pool.request(b"POST", self._path, infer_request(texts))
        try:
            status, body = await self._exchanged(raw, timeout_s)
        except SilenceError as error:
            raise BackendTimeoutError("the classifier did not answer in time") from error
        except GoneError as error:
            raise BackendUnavailableError("the classifier cannot be reached, or went away") from error
        except WireError as error:
            raise BackendError("the classifier did not speak the protocol") from error
        if status == 429:
            raise OverloadedError(1.0)
        if status != 200:
            raise BackendError(f"the classifier answered {status}")
        try:
            return read_scored(body, len(texts))
        except ValueError as error:
            raise BackendError("the classifier did not speak the protocol") from error

    async def _exchanged(self, raw: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Ask, and once more on a new connection: the node may just have ended one that nobody used."""
        try:
            status, _, body = await self._pool.exchange(raw, timeout_s=timeout_s, max_bytes=_MAX_REPLY_BYTES)
        except GoneError:
            self._pool.drop_idle()
            status, _, body = await self._pool.exchange(raw, timeout_s=timeout_s, max_bytes=_MAX_REPLY_BYTES)
        return status, body

    async def aclose(self) -> None:
        self._pool.close()
