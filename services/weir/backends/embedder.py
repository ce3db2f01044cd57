"""An embedder on a node, over HTTP: rows of token ids in, vectors out (`weir.oip.embed`)."""

from collections.abc import Sequence
from typing import Final, Protocol

from weir.backends.infer_client import InferClient
from weir.oip.embed import Embedded, embed_request, read_embedded

_MAX_REPLY_BYTES: Final = 64 << 20
_CONNECT_TIMEOUT_S: Final = 1.0
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

    async def ready(self) -> bool:
        """Whether it is served there now.

        Raises:
            BackendTimeoutError: it does not say.
        """
        ...

    async def aclose(self) -> None:
        """Keep no connection; what runs, runs on."""
        ...


class HttpEmbedder:
    """One node that serves this version of `model`; connections are kept between calls.

    Another version's vectors lie in another space: beside these they would look right and find nothing.
    """

    def __init__(self, url: str, model: str, version: int) -> None:
        self._client = InferClient(
            "embedder",
            url,
            model,
            version=version,
            max_reply_bytes=_MAX_REPLY_BYTES,
            connect_timeout_s=_CONNECT_TIMEOUT_S,
        )

    async def embedded(self, rows: Sequence[Row], *, timeout_s: float) -> Embedded:
        reply = await self._client.answered(embed_request(rows), timeout_s)
        try:
            return read_embedded(reply, len(rows))
        except ValueError as error:
            raise self._client.garbled() from error

    async def ready(self) -> bool:
        return await self._client.ready()

    async def aclose(self) -> None:
        await self._client.aclose()
