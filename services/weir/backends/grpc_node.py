"""A node over gRPC: Triton's `ModelStreamInfer`, one call per request, so that cancelling reaches queued requests too.

Triton says what went wrong in words only. Weir's own model under Triton begins them with an error's code
(`overloaded: …`); of Triton's own sayings, those that decide whether another node may help are known here.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2 as pb

from weir.backends.answer import STATUSES, AnswerReader, failure
from weir.backends.oip_proto import body_of, infer_request
from weir.contracts.errors import BackendError, BackendTimeoutError, BackendUnavailableError, ReleaseError, WeirError
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest, SamplingParams

_SERVICE: Final = "/inference.GRPCInferenceService/"
_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),  # the default, two minutes, would outlast most restarts of a node
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 30_000),
)
_PROBE_TIMEOUT_S: Final = 2.0
_STATUS_TIMEOUT_S: Final = 1.0
_LOAD_TIMEOUT_S: Final = 600.0
_PROGRESS_S: Final = 2.0  # a node that sent a token this lately needs no canary
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
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INVALID_ARGUMENT: 422,
}


class GrpcNode:
    """One node that serves `model` at `host:port`, over one channel."""

    def __init__(self, name: str, address: str, model: str, *, connect_timeout_s: float = 2.0) -> None:
        self._name = name
        self._address = address
        self._model = model
        self._connect_timeout_s = connect_timeout_s
        self._stub: _Stub | None = None
        self._progress_at = float("-inf")
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return self._name

    async def generate(self, request: GenerateRequest, *, timeout_s: float) -> AsyncGenerator[GenerationEvent, None]:
        stub = await self._connected()
        reader = self._reader(request)
        call = stub.infer(self._message(request))
        is_over = False
        try:
            while True:
                for event in reader.take([await self._next_body(call, timeout_s)]):
                    is_over = is_over or event.type == "finished"
                    yield event
                if is_over:
                    return
                if reader.failure is not None:
                    raise reader.failure
        except grpc.aio.AioRpcError as error:
            raise self._failure(error.code(), error.details() or "") from error
        finally:
            if is_over and not reader.is_cut:
                self._close(call)
            else:
                call.cancel()

    def _message(self, request: GenerateRequest) -> Any:
        return infer_request(request, self._served(request))

    def _served(self, request: GenerateRequest) -> str:
        return request.model or self._model

    def _reader(self, request: GenerateRequest) -> AnswerReader:
        del request  # for dialects whose answers are read differently
        return AnswerReader(self._name)

    def _close(self, call: Any) -> None:
        """Wait, in the background, for the status behind the last message.

        Triton 2.51 that is told to cancel just then forgets to let the request go, and never unloads the model.
        """
        task = asyncio.create_task(_ended(call))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def ready(self) -> bool:
        """Whether tokens came lately or, when none did, a canary of one token succeeds.

        Triton calls a model ready whose process died.
        """
        if monotonic() - self._progress_at < _PROGRESS_S:
            return True
        with suppress(WeirError, grpc.aio.AioRpcError, TimeoutError):
            stub = await self._connected()
            asked = pb.ModelReadyRequest(name=self._model)
            if not (await stub.model_ready(asked, timeout=_PROBE_TIMEOUT_S)).ready:
                return False
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                async for event in self.generate(_CANARY, timeout_s=_PROBE_TIMEOUT_S):
                    if event.type == "finished":
                        return True
        return False

    async def load(self, model: str, version: int) -> None:
        """Tell Triton to read the model's folder again; which versions it serves is for the folder's policy to say."""
        stub = await self._connected()
        try:
            await stub.load(pb.RepositoryModelLoadRequest(model_name=model), timeout=_LOAD_TIMEOUT_S)
            asked = pb.ModelReadyRequest(name=model, version=str(version))
            is_ready = (await stub.model_ready(asked, timeout=_PROBE_TIMEOUT_S)).ready
        except grpc.aio.AioRpcError as error:
            raise ReleaseError(f"{self._name} did not load {model} {version}: {error.details()}") from error
        if not is_ready:
            raise ReleaseError(f"{self._name} loaded {model}, but version {version} is not ready there")

    async def aclose(self) -> None:
        await asyncio.gather(*self._ending)
        if self._stub is not None:
            await self._stub.channel.close()

    async def _next_body(self, call: Any, timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                response = await call.read()
        except TimeoutError:
            raise BackendTimeoutError(f"{self._name} did not answer in time") from None
        if response is grpc.aio.EOF:
            raise BackendUnavailableError(f"{self._name} went away in the middle of an answer")
        if response.error_message:
            raise self._failure(None, response.error_message)
        self._progress_at = monotonic()
        return body_of(response, self._name)

    async def _connected(self) -> "_Stub":
        if self._stub is None:  # made here: a channel belongs to the running loop
            self._stub = _Stub(grpc.aio.insecure_channel(self._address, options=_OPTIONS))
        channel = self._stub.channel
        if channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
            return self._stub
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                        raise BackendUnavailableError(f"{self._name} cannot be reached")
                    await channel.wait_for_state_change(state)
        except TimeoutError:
            raise BackendUnavailableError(f"{self._name} did not take the connection in time") from None
        return self._stub

    def _failure(self, code: grpc.StatusCode | None, words: str) -> Exception:
        """Go by Weir's code in front of the words, else by what Triton is known to say, else by the call's status."""
        ours, has_code, rest = words.partition(": ")
        if has_code and ours in STATUSES:
            return failure(self._name, STATUSES[ours], rest, is_deadline=ours == "deadline_exceeded")
        said = words.lower()
        for saying, status in _SAYINGS:
            if saying in said:
                return failure(self._name, status, words)
        if code is not None and code in _CODES:
            return failure(self._name, _CODES[code], words)
        return BackendError(f"{self._name} failed ({code.name.lower() if code else 'an error message'})")


class _Stub:
    """The calls that are used; tritonclient's own wrapper costs more than the rest of the path."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        # On the wire a stream of one request, which is sent and closed in one step: a third of the cost of three.
        self.infer = channel.unary_stream(
            _SERVICE + "ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        self.model_ready = channel.unary_unary(
            _SERVICE + "ModelReady",
            request_serializer=pb.ModelReadyRequest.SerializeToString,
            response_deserializer=pb.ModelReadyResponse.FromString,
        )
        self.load = channel.unary_unary(
            _SERVICE + "RepositoryModelLoad",
            request_serializer=pb.RepositoryModelLoadRequest.SerializeToString,
            response_deserializer=pb.RepositoryModelLoadResponse.FromString,
        )


async def _ended(call: Any) -> None:
    with suppress(grpc.aio.AioRpcError, TimeoutError):
        async with asyncio.timeout(_STATUS_TIMEOUT_S):
            await call.read()
            return
    call.cancel()
