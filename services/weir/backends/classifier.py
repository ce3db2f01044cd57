"""A classifier on a node, over HTTP: texts in, scores out (`weir.oip.infer`)."""

from collections.abc import Sequence
from typing import Final, Protocol

from weir.backends.infer_client import InferClient
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
        self._client = InferClient(
            "classifier", url, model, max_reply_bytes=_MAX_REPLY_BYTES, connect_timeout_s=connect_timeout_s
        )

    async def scored(self, texts: Sequence[str], *, timeout_s: float) -> Scored:
        reply = await self._client.answered(infer_request(texts), timeout_s)
        try:
            return read_scored(reply, len(texts))
        except ValueError as error:
            raise self._client.garbled() from error

    async def aclose(self) -> None:
        await self._client.aclose()
