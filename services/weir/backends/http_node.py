"""A node over HTTP: Open Inference Protocol v2, generate extension, server-sent events."""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson

from weir.backends.base import NodeReport
from weir.backends.http_answer import MAX_REPLY_BYTES, HttpAnswer, translated, words_of
from weir.backends.http_wire import GoneError, Pool, SilenceError, WireError
from weir.backends.oip import SamplingText, extensions
from weir.contracts.errors import BackendError, BackendUnavailableError, ReleaseError
from weir.contracts.repository import REPOSITORY_KEY
from weir.contracts.request import GenerateRequest

_ALWAYS: Final = (
    b',"stream":true,"exclude_input_in_output":true,"return_finish_reason":true,"return_num_input_tokens":true'
    b',"return_num_output_tokens":true,'
)
_CONNECT_TIMEOUT_S: Final = 2.0
_PROBE_TIMEOUT_S: Final = 1.0
_LOAD_TIMEOUT_S: Final = 600.0
_ABSENT: Final = frozenset({400, 404})  # Triton's word for a model that it does not have, and ours


class HttpNode:
    """One node that serves `model`. Keeps connections alive between requests; one connection per running request."""

    def __init__(
        self, name: str, url: str, model: str, *, others: Sequence[str] = (), repository_key: str = ""
    ) -> None:
        """`others`: further models that it may serve.

        `repository_key`: what the node wants to see before it loads or unloads a model; none: it asks for none.
        """
        self._name = name
        self._model = model
        self._others = others
        self._pool = Pool(url, connect_timeout_s=_CONNECT_TIMEOUT_S)
        self._key = f"{REPOSITORY_KEY}: {repository_key}\r\n".encode() if repository_key else b""
        self._sampling = SamplingText()
        self._version_said = ""
        self.report = NodeReport()

    @property
    def name(self) -> str:
        return self._name

    def generate(self, request: GenerateRequest, *, timeout_s: float) -> HttpAnswer:
        model = request.model
        path = f"/v2/models/{model or self._model}/generate_stream".encode()
        trace = b"" if request.traceparent is None else b"traceparent: %b\r\n" % request.traceparent.encode()
        body = _request_body(request, self._sampling.of(request.sampling))
        raw = self._pool.request(b"POST", path, body, trace)
        note = partial(self._note_further, model) if model and model in self._others else self._note_version
        return HttpAnswer(self._name, self._pool, raw, timeout_s, note)

    async def ready(self) -> bool:
        try:
            is_first = await self._is_ready(self._model)
            if not is_first and True not in await asyncio.gather(*map(self._is_ready, self._others)):
                return False
        except SilenceError as error:
            raise translated(error, self._name) from error
        except (GoneError, WireError):
            return False
        await self._look_closer(is_first=is_first)
        return True

    async def _is_ready(self, model: str) -> bool:
        raw = self._pool.request(b"GET", f"/v2/models/{model}/ready".encode())
        status, _, _ = await self._pool.exchange(raw, timeout_s=_PROBE_TIMEOUT_S, max_bytes=MAX_REPLY_BYTES)
        return status == 200

    async def serving(self, model: str) -> int | None:
        with _foreign_errors(self._name):
            status, reply = await self._metadata(model)
        if status == 404:
            return None
        try:
            return max(map(int, orjson.loads(reply)["versions"]), default=None)
        except (ValueError, KeyError, TypeError):
            raise BackendUnavailableError(f"{self._name} does not say what it serves: {words_of(reply)}") from None

    def _note_version(self, said: Any) -> None:
        if said != self._version_said and isinstance(said, str) and said.isdigit():
            self._version_said = said
            self.report = replace(self.report, version=int(said))

    def _note_further(self, model: str, said: Any) -> None:
        if isinstance(said, str) and said.isdigit():
            self.report = self.report.answered_by(model, int(said))

    async def _look_closer(self, *, is_first: bool) -> None:
        """Read what the node says of itself; one that says nothing is none the worse for it.

        Load is that of the first model, as long as the node serves it.
        """
        with suppress(SilenceError, GoneError, WireError, orjson.JSONDecodeError):
            (status, body), *said = await asyncio.gather(*map(self._metadata, (self._model, *self._others)))
            found = zip(self._others, said, strict=True)
            further = {model: _report_of(about) for model, (is_there, about) in found if is_there not in _ABSENT}
            report = _report(orjson.loads(body)) if status == 200 and body else self.report
            if not is_first:
                report = replace(next(iter(further.values()), report), version=self.report.version, flavour=None)
            others = {model: said.flavour for model, said in further.items()} if self._others else None
            versions = {model: said.version for model, said in further.items() if said.version is not None}
            self.report = replace(report, others=others, versions=versions, serves_first=is_first)
            self._version_said = str(report.version)

    async def _metadata(self, model: str) -> tuple[int, bytes]:
        raw = self._pool.request(b"GET", f"/v2/models/{model}".encode())
        status, _, body = await self._pool.exchange(raw, timeout_s=_PROBE_TIMEOUT_S, max_bytes=MAX_REPLY_BYTES)
        return status, body

    async def load(self, model: str, version: int) -> None:
        """As `ManagedNode.load`; a node that serves it already is left in peace."""
        with suppress(BackendError):
            if await self.serving(model) == version:
                return
        await self._change(f"models/{model}/load", {"version": version}, f"did not load {model} {version}")

    async def unload(self, model: str) -> None:
        await self._change(f"models/{model}/unload", {}, f"did not unload {model}")

    async def add_adapter(self, model: str, adapter: str) -> None:
        await self._change(f"models/{model}/adapters/{adapter}/load", {}, f"did not add adapter {adapter}")

    async def remove_adapter(self, model: str, adapter: str) -> None:
        await self._change(f"models/{model}/adapters/{adapter}/unload", {}, f"did not remove adapter {adapter}")

    async def _change(self, path: str, parameters: Mapping[str, Any], failed: str) -> None:
        """Ask for a change of what the node serves; `failed` is said of it when it refuses."""
        body = orjson.dumps({"parameters": parameters})
        raw = self._pool.request(b"POST", f"/v2/repository/{path}".encode(), body, self._key)
        with _foreign_errors(self._name):
            status, _, reply = await self._pool.exchange(raw, timeout_s=_LOAD_TIMEOUT_S, max_bytes=MAX_REPLY_BYTES)
        if status != 200:
            raise ReleaseError(f"{self._name} {failed}: {words_of(reply)}")

    async def aclose(self) -> None:
        self._pool.close()


def _request_body(request: GenerateRequest, sampling: bytes) -> bytes:
    given = {"id": request.id, "text_input": request.prompt, "return_tokens": request.return_tokens}
    return b'{"sampling_parameters":%b%b%b' % (sampling, _ALWAYS, orjson.dumps(given | extensions(request))[1:])


def _report(metadata: Any) -> NodeReport:
    """Read a model's metadata; Weir's own node has its flavour and load under `parameters`."""
    if not isinstance(metadata, dict):
        return NodeReport()
    versions, said = metadata.get("versions"), metadata.get("parameters")
    said = said if isinstance(said, dict) else {}
    version = str(versions[-1]) if isinstance(versions, list) and versions else ""
    queued, running, flavour = _count(said.get("queued")), _count(said.get("running")), said.get("flavour")
    return NodeReport(
        int(version) if version.isdigit() else None,
        flavour if isinstance(flavour, str) else None,
        _count(said.get("slots")) or None,
        None if queued is None or running is None else queued + running,
    )


def _report_of(metadata: bytes) -> NodeReport:
    return _report(orjson.loads(metadata)) if metadata else NodeReport()


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


@contextmanager
def _foreign_errors(node: str) -> Generator[None, None, None]:
    try:
        yield
    except (GoneError, SilenceError, WireError) as error:
        raise translated(error, node) from error
