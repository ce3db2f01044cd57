"""An embedder on nodes, over HTTP: rows of token ids in, vectors out (`weir.oip.embed`)."""

from collections.abc import Sequence
from typing import Final, Protocol

from weir.backends.http_wire import GoneError, Pool, SilenceError, WireError
from weir.contracts.errors import BackendError, BackendTimeoutError, BackendUnavailableError, OverloadedError
from weir.oip.embed import Embedded, embed_request, read_embedded

_MAX_REPLY_BYTES: Final = 64 << 20
_TRY_ANOTHER: Final = (OverloadedError, BackendUnavailableError)
Row = Sequence[int]


class Embedder(Protocol):
    """Makes vectors."""

    async def embedded(self, rows: Sequence[Row], *, timeout_s: float) -> Embedded:
        """Return a vector for each row of token ids; cancelling the call cancels the work.

        Raises:
            OverloadedError: too much waits there.
            BackendTimeoutError: no answer within `timeout_s` seconds.
            BackendUnavailableError: it cannot be reached, or went away.
            BackendError: it refused, failed, or does not speak the protocol.
        """
        ...

    async def aclose(self) -> None: ...


class HttpEmbedder:
    """One node that serves `model`; connections are kept between calls."""

    def __init__(self, url: str, model: str, *, connect_timeout_s: float = 1.0) -> None:
        self._pool = Pool(url, connect_timeout_s=connect_timeout_s)
        self._path = f"/v2/models/{model}/infer".encode()

    async def embedded(self, rows: Sequence[Row], *, timeout_s: float) -> Embedded:
        raw = self._pool.request(b"POST", self._path, embed_request(rows))
        try:
            status, body = await self._exchanged(raw, timeout_s)
        except SilenceError as error:
            raise BackendTimeoutError("the embedder did not answer in time") from error
        except GoneError as error:
            raise BackendUnavailableError("the embedder cannot be reached, or went away") from error
        except WireError as error:
            raise BackendError("the embedder did not speak the protocol") from error
        if status == 429:
            raise OverloadedError(1.0)
        if status in {404, 503}:
            raise BackendUnavailableError("the node does not serve this embedder now")
        if status != 200:
            raise BackendError(f"the embedder answered {status}")
        try:
            return read_embedded(body, len(rows))
        except ValueError as error:
            raise BackendError("the embedder did not speak the protocol") from error

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


class Embedders:
    """Several nodes with one embedder: each takes its turn, and where one is full or away the next one is asked."""

    def __init__(self, nodes: Sequence[Embedder]) -> None:
        self._nodes = tuple(nodes)
        self._turn = 0

    async def embedded(self, rows: Sequence[Row], *, timeout_s: float) -> Embedded:
        first, self._turn = self._turn, (self._turn + 1) % len(self._nodes)
        for node in (*self._nodes[first:], *self._nodes[:first])[:-1]:
            try:
                return await node.embedded(rows, timeout_s=timeout_s)
            except _TRY_ANOTHER:
                continue
        return await self._nodes[first - 1].embedded(rows, timeout_s=timeout_s)

    async def aclose(self) -> None:
        for node in self._nodes:
            await node.aclose()
