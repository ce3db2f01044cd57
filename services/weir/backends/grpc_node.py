"""A node over gRPC: Triton's `ModelStreamInfer`, one call per request, so that cancelling reaches queued requests too.

Triton says what went wrong in words only. Weir's own model under Triton begins them with an error's code
(`overloaded: …`); of Triton's own sayings, those that decide whether another node may help are known here.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from weir.backends.answer import STATUSES, AnswerReader, failure
from weir.backends.base import NodeReport
from weir.backends.gauges import Gauges
from weir.backends.grpc_call import Call, Code, RpcError, SilenceError
from weir.backends.grpc_wire import Channel, Connection, NotConnectedError
from weir.backends.oip_proto import beat_request, body_of, infer_request
from weir.backends.pulse import NoPulseError, Pulse
from weir.backends.triton_repository import SERVICE, TritonRepository, ask
from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    NodeUnreachableError,
    OverloadedError,
    ReleaseError,
    ValidationError,
    WeirError,
)
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest, SamplingParams

_INFER: Final = SERVICE + "ModelStreamInfer"  # one request is sent, and the stream closed with it
_CONNECT_TIMEOUT_S: Final = 2.0
_PROBE_TIMEOUT_S: Final = 2.0
_DOUBT_S: Final = 0.3  # what a node that has gone silent gets to show that it lives
_BEATS_S: Final = 60.0  # the pulse has a patience of its own
_WARM_UP_S: Final = 30.0
_ADAPTER_S: Final = 15.0
_LOOK_S: Final = 0.1
_PROGRESS_S: Final = 0.25  # a node that sent a token this lately needs no canary
_CANARY: Final = GenerateRequest(id="canary", prompt="1", sampling=SamplingParams(max_new_tokens=1))
_SAYINGS: Final = (
    ("exceeds maximum queue size", 429),
    ("request timeout expired", 504),
    ("is not ready", 503),
    ("not healthy", 503),
    ("unknown model", 404),
    ("not found", 404),
    ("no available versions", 404),
)
_CODES: Final = {
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.INVALID_ARGUMENT: 422,
}


class GrpcNode:
    """One node that serves `model` at `host:port`, over one channel; `gauges` tell its load."""

    def __init__(
        self,
        name: str,
        address: str,
        model: str,
        *,
        others: Sequence[str] = (),
        repository_key: str = "",
        gauges: Gauges | None = None,
    ) -> None:
        """`others`: further models that it may serve.

        `repository_key`: what the node wants to see before it loads or unloads a model; none: it asks for none.
        """
        self._name = name
        self._model = self._lead = model  # the lead is the first one that is there: it stands for the node's health
        self._others = others
        self._repository_key = repository_key
        self._gauges = gauges
        self._channel = Channel(address, connect_timeout_s=_CONNECT_TIMEOUT_S)
        self._progress_at = float("-inf")
        self._pulse = Pulse(self._beats, self._answers, self._lost)
        self._calls: set[Call] = set()
        self._version_said = ""
        self.report = NodeReport()

    @property
    def name(self) -> str:
        return self._name

    async def generate(self, request: GenerateRequest, *, timeout_s: float) -> AsyncGenerator[GenerationEvent, None]:
        if self._pulse.is_silent and not await self._pulse.heard_within(_DOUBT_S):
            raise NodeUnreachableError(f"{self._name} has stopped giving signs of life")
        self._pulse.start()
        async with aclosing(self._generate(request, timeout_s)) as events:
            async for event in events:
                yield event

    async def _generate(self, request: GenerateRequest, timeout_s: float) -> AsyncGenerator[GenerationEvent, None]:
        connection = await self._connected()
        reader = self._reader(request)
        metadata = () if request.traceparent is None else (("traceparent", request.traceparent),)
        call = connection.call(_INFER, self._message(request), metadata)
        self._calls.add(call)
        is_over = False
        try:
            while True:
                bodies, words = await self._next(call, timeout_s)
                for event in reader.take(bodies):
                    is_over = is_over or event.type == "finished"
                    yield event
                if words and not is_over:
                    is_over = True  # nothing comes behind it
                    raise self._failure(None, words)
                if is_over:
                    return
                if reader.failure is not None:
                    raise reader.failure
        except RpcError as error:
            self._doubt()
            raise self._failure(error, error.details) from error
        except BackendError:
            self._doubt()
            raise
        finally:
            self._calls.discard(call)
            if is_over and not reader.is_cut:  # Triton 2.51 that is told to cancel now never unloads the model
                call.release()
            else:
                call.cancel()

    def _message(self, request: GenerateRequest) -> bytes:
        return infer_request(request, self._served(request))

    def _served(self, request: GenerateRequest) -> str:
        return request.model or self._model

    def _reader(self, request: GenerateRequest) -> AnswerReader:
        del request  # for dialects whose answers are read differently
        return AnswerReader(self._name)

    def _doubt(self) -> None:
        """Have the next probe ask a canary, whatever came lately."""
        self._progress_at = float("-inf")

    def _lost(self) -> None:
        """Give up all that the node was working on: nothing will come of it."""
        for call in self._calls:
            call.fail(RpcError(Code.UNAVAILABLE, "it went away"))

    async def _beats(self) -> AsyncGenerator[None, None]:
        """As `Pulse` wants them."""
        connection = await self._connected()
        call = connection.call(_INFER, beat_request(self._lead))
        try:
            while (raw := await call.read(_BEATS_S)) is not None:
                response = self._parsed(raw)
                if response.error_message:
                    raise self._failure(None, response.error_message)
                if "finish_reason" in body_of(response, self._name):
                    raise NoPulseError
                yield
        except RpcError as error:
            raise self._failure(error, error.details) from error
        except SilenceError:
            raise BackendTimeoutError(f"{self._name} gave no sign of life") from None
        finally:
            call.cancel()

    async def ready(self) -> bool:
        """Whether tokens came lately or, when none did, a canary of one token succeeds.

        Triton calls a model ready whose process died.
        """
        self._pulse.start()
        if self._pulse.is_silent and not await self._pulse.heard_within(_DOUBT_S):
            return False
        if self._gauges is not None:
            self.report = replace(self.report, present=await self._gauges.present(self._lead))
        if monotonic() - self._progress_at < _PROGRESS_S:
            if self._others:  # whichever answers: one may be there by now, or gone
                await self._look_again()
            return True
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                return await self._canary()
        except (TimeoutError, BackendTimeoutError):
            raise BackendTimeoutError(f"{self._name} did not answer a canary in time") from None
        except (WeirError, RpcError):
            return False

    async def _answers(self) -> bool | None:
        """As `Pulse` wants it: silence is no proof, Triton's word that the process is not healthy is."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                return await self._canary()
        except (TimeoutError, BackendTimeoutError):
            return None
        except (WeirError, RpcError):
            return False

    async def _canary(self) -> bool:
        """Ask for one token of the first model that is there; a node that is full is well."""
        try:
            model = await self._first_ready()
        except SilenceError:
            raise BackendTimeoutError(f"{self._name} did not say whether it is ready") from None
        if model is None:
            return False
        asked = _CANARY if model == self._model else _CANARY.changed(model=model)
        if not await self._finishes(asked, _PROBE_TIMEOUT_S):
            return False
        self._lead, self.report = model, replace(self.report, serves_first=model == self._model)
        await self._look_closer()
        return True

    async def _first_ready(self) -> str | None:
        for model in (self._model, *self._others):
            if await self._is_ready(model):
                return model
        return None

    async def _is_ready(self, model: str) -> bool:
        asked = pb.ModelReadyRequest(name=model)
        return bool((await self._ask("ModelReady", asked, pb.ModelReadyResponse)).ready)

    async def _look_again(self) -> None:
        with suppress(RpcError, SilenceError):
            self.report = replace(self.report, serves_first=await self._is_ready(self._model))
        if len(self.report.others or ()) < len(self._others):
            await self._look_at_others()

    async def _look_closer(self) -> None:
        """Read the models' configuration: a parameter names the flavour; Weir's own backend needs none."""
        with suppress(RpcError, SilenceError):
            self.report = replace(self.report, flavour=await self._flavour(self._model))
        if self._others:
            await self._look_at_others()

    async def _look_at_others(self) -> None:
        others = {}
        for model in self._others:
            with suppress(RpcError, SilenceError):  # without a configuration it is not served
                others[model] = await self._flavour(model)
        self.report = replace(self.report, others=others)

    async def _flavour(self, model: str) -> str | None:
        found = await self._ask("ModelConfig", pb.ModelConfigRequest(name=model), pb.ModelConfigResponse)
        return found.config.parameters["flavour"].string_value or ("" if found.config.backend == "weir" else None)

    async def load(self, model: str, version: int) -> None:
        """Make Triton serve this version, and ask it for one token before anyone else does."""
        await self._repository().load(model, version)
        try:
            await self._finishes(_CANARY.changed(model=model), _WARM_UP_S)
        except WeirError as error:
            raise ReleaseError(f"{self._name} loaded {model} {version}, but does not answer: {error}") from error

    async def serving(self, model: str) -> int | None:
        return await self._repository().serving(model)

    async def unload(self, model: str) -> None:
        await self._repository().unload(model)

    async def add_adapter(self, model: str, adapter: str) -> None:
        """Wait until Triton's model has found it beside its release; it looks twice a second."""
        if not await self._comes_to(model, adapter, is_served=True):
            raise ReleaseError(f"{self._name} did not add adapter {adapter}: its log says why")

    async def remove_adapter(self, model: str, adapter: str) -> None:
        """Wait until Triton's model has found that it is gone."""
        if not await self._comes_to(model, adapter, is_served=False):
            raise ReleaseError(f"{self._name} did not remove adapter {adapter}: it still lies beside the release")

    async def _comes_to(self, model: str, adapter: str, *, is_served: bool) -> bool:
        deadline = monotonic() + _ADAPTER_S
        while monotonic() < deadline:
            if await self._serves(model, adapter) is is_served:
                return True
            await asyncio.sleep(_LOOK_S)
        return False

    async def _serves(self, model: str, adapter: str) -> bool:
        try:
            return await self._finishes(_CANARY.changed(model=model, adapter=adapter), _WARM_UP_S)
        except ValidationError:
            return False

    async def _finishes(self, request: GenerateRequest, timeout_s: float) -> bool:
        """Whether a request comes to its end, or to a queue that is full."""
        try:
            async with aclosing(self._generate(request, timeout_s)) as events:
                return [event async for event in events][-1:] != []
        except OverloadedError:
            return True

    async def aclose(self) -> None:
        await self._pulse.aclose()
        if self._gauges is not None:
            self._gauges.close()
        await self._channel.aclose()

    async def _next(self, call: Call, timeout_s: float) -> tuple[list[Mapping[str, Any]], str]:
        """Return what has come together, and the words of an error behind it."""
        try:
            messages = await call.read_all(timeout_s)
        except SilenceError:
            raise BackendTimeoutError(f"{self._name} did not answer in time") from None
        if not messages:
            raise BackendUnavailableError(f"{self._name} went away in the middle of an answer")
        bodies: list[Mapping[str, Any]] = []
        for raw in messages:
            response = self._parsed(raw)
            if response.error_message:
                return bodies, response.error_message
            self._progress_at = monotonic()
            self._note_version(response.infer_response.model_name, response.infer_response.model_version)
            bodies.append(body_of(response, self._name))
        return bodies, ""

    def _note_version(self, model: str, said: str) -> None:
        if model in self._others:
            if said.isdigit():
                self.report = self.report.answered_by(model, int(said))
        elif said != self._version_said and said.isdigit():
            self._version_said, self.report = said, replace(self.report, version=int(said))

    def _parsed(self, raw: bytes) -> Any:
        try:
            return pb.ModelStreamInferResponse.FromString(raw)
        except DecodeError:
            raise BackendError(f"{self._name} sent something that is not the protocol") from None

    def _repository(self) -> TritonRepository:
        return TritonRepository(self._name, self._channel, self._repository_key)

    async def _ask(self, name: str, request: Any, answered: Any) -> Any:
        with _reached(self._name):
            return await ask(self._channel, name, request, answered, timeout_s=_PROBE_TIMEOUT_S)

    async def _connected(self) -> Connection:
        with _reached(self._name):
            return await self._channel.connection()

    def _failure(self, error: RpcError | None, words: str) -> Exception:
        """Go by Weir's code in front of the words, else by what Triton is known to say, else by the call's status."""
        ours, has_code, rest = words.partition(": ")
        if has_code and ours in STATUSES:
            return failure(self._name, STATUSES[ours], rest, is_deadline=ours == "deadline_exceeded")
        said = words.lower()
        for saying, status in _SAYINGS:
            if saying in said:
                return failure(self._name, status, words)
        if error is not None and error.code in _CODES:
            return failure(self._name, _CODES[Code(error.code)], words)
        return BackendError(f"{self._name} failed ({error.name if error else 'an error message'})")


@contextmanager
def _reached(node: str) -> Generator[None, None, None]:
    try:
        yield
    except NotConnectedError as error:
        raise NodeUnreachableError(f"{node} {error}") from None
