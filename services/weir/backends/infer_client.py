"""A model on a node that is asked once and answers once, over HTTP: the infer form of the Open Inference Protocol."""

from typing import Final

from weir.backends.http_wire import GoneError, Pool, SilenceError, WireError
from weir.contracts.errors import BackendError, BackendTimeoutError, BackendUnavailableError, OverloadedError

_PROBE_TIMEOUT_S: Final = 1.0


class InferClient:
    """Connections are kept between calls. `what`: the kind of model, as errors call it; `version`: no other will do."""

    def __init__(
        self,
        what: str,
        url: str,
        model: str,
        *,
        version: int | None = None,
        max_reply_bytes: int,
        connect_timeout_s: float,
    ) -> None:
        self._what = what
        self._pool = Pool(url, connect_timeout_s=connect_timeout_s)
        self._path = f"/v2/models/{model}{'' if version is None else f'/versions/{version}'}".encode()
        self._max_bytes = max_reply_bytes

    async def answered(self, body: bytes, timeout_s: float) -> bytes:
        """Return the body of the answer; cancelling the call cancels the work.

        Raises:
            OverloadedError: too much waits there.
            BackendTimeoutError: no answer within `timeout_s` seconds.
            BackendUnavailableError: it cannot be reached, went away, or does not serve the model now.
            BackendError: it refused, failed, or does not speak HTTP.
        """
        raw = self._pool.request(b"POST", self._path + b"/infer", body)
        try:
            status, _, reply = await self._pool.exchange(raw, timeout_s=timeout_s, max_bytes=self._max_bytes)
        except SilenceError as error:
            raise BackendTimeoutError(f"the {self._what} did not answer in time") from error
        except GoneError as error:
            raise BackendUnavailableError(f"the {self._what} cannot be reached, or went away") from error
        except WireError as error:
            raise self.garbled() from error
        if status == 429:
            raise OverloadedError(1.0)
        if status in {404, 503}:
            raise BackendUnavailableError(f"the {self._what} answered {status}: it is not served there now")
        if status != 200:
            raise BackendError(f"the {self._what} answered {status}")
        return reply

    async def ready(self) -> bool:
        """Whether the model is served there now.

        Raises:
            BackendTimeoutError: it does not say.
        """
        raw = self._pool.request(b"GET", self._path + b"/ready")
        try:
            status, _, _ = await self._pool.exchange(raw, timeout_s=_PROBE_TIMEOUT_S, max_bytes=self._max_bytes)
        except SilenceError as error:
            raise BackendTimeoutError(f"the {self._what} did not answer in time") from error
        except (GoneError, WireError):
            return False
        return status == 200

    def garbled(self) -> BackendError:
        """Return the error for an answer that is none."""
        return BackendError(f"the {self._what} did not speak the protocol")

    async def aclose(self) -> None:
        self._pool.close()
