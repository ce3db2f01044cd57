"""TGI's routes: `/`, `/generate`, `/generate_stream`."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import orjson
from pydantic import BaseModel

from weir.asgi.body import BodyTooLargeError, BodyTooSlowError
from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    RequestRejectedError,
    UnknownModelError,
    WeirError,
)
from weir.contracts.events import Finished, FinishReason, Token, TokenChunk
from weir.contracts.request import GenerateRequest
from weir.gateway.denials import KeyRefusedError
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.refusals import AttemptRunningError, SaturatedError
from weir.gateway.streams import Collected
from weir.gateway.surfaces.base import JSON_HEADERS, STREAM_HEADERS, Headers, Reply, decoded, retry_after
from weir.gateway.surfaces.tgi_wire import TgiBody, TgiParameters, check, sampling_of

# The first that fits. error_type is what huggingface_hub picks its exception by.
_STATUSES: tuple[tuple[type[WeirError], int, str], ...] = (
    (BodyTooLargeError, 413, "validation"),
    (BodyTooSlowError, 408, "validation"),
    (KeyRefusedError, 401, "authentication"),
    (UnknownModelError, 404, "validation"),
    (RequestRejectedError, 422, "validation"),
    (SaturatedError, 503, "overloaded"),
    (OverloadedError, 429, "overloaded"),
    (AttemptRunningError, 409, "conflict"),
    (DeadlineExceededError, 504, "deadline_exceeded"),
    (BackendUnavailableError, 503, "unavailable"),
    (BackendError, 424, "generation"),
)


@dataclass(frozen=True, slots=True)
class TgiSurface:
    """`streams`: always answers with a stream. `in_array`: a whole answer is an array of one object (`POST /`)."""

    path: str
    streams: bool = False
    in_array: bool = False

    @property
    def body_model(self) -> type[BaseModel]:
        return TgiBody

    @property
    def summary(self) -> str:
        return "Generate text as server-sent events (TGI)" if self.streams else "Generate text (TGI)"

    def parse(self, body: bytes, context: RequestContext) -> "TgiJob":
        parsed = decoded(TgiBody, body)
        check(parsed)
        given = parsed.parameters or TgiParameters()
        is_stream = self.streams or bool(parsed.stream)
        request = GenerateRequest(
            id=context.id,
            prompt=parsed.inputs,
            sampling=sampling_of(given),
            return_tokens=is_stream or bool(given.details),
        )
        ask = Ask(request, self.path, context, given.truncate)
        return TgiJob(ask, is_stream, self.in_array, bool(given.details), bool(given.return_full_text))

    def error(self, error: WeirError) -> Reply:
        status, kind = _status_and_kind(error)
        return Reply(status, JSON_HEADERS + retry_after(error), _error_body(error, kind))

    def late_error(self, error: WeirError) -> bytes:
        kind = "overloaded" if isinstance(error, OverloadedError) else "generation"
        return b"data:%b\n\n" % _error_body(error, kind)


@dataclass(frozen=True, slots=True)
class TgiJob:
    """One parsed request."""

    ask: Ask
    is_stream: bool
    in_array: bool
    with_details: bool
    with_full_text: bool

    @property
    def asks(self) -> tuple[Ask]:
        return (self.ask,)

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply:
        (generation,), (answer,) = generations, answers
        body: dict[str, Any] = {"generated_text": self._full_text(answer.text)}
        if self.with_details:
            details = _reason(answer.finished) | {
                "generated_tokens": answer.finished.usage.completion_tokens,
                "seed": self.ask.request.sampling.seed,
                "prefill": [],
                "tokens": [_token(token) for token in answer.tokens],
            }
            body["details"] = details
        headers = JSON_HEADERS + _compute_headers(generation) + _timing_headers(generation, answer)
        return Reply(200, headers, orjson.dumps([body] if self.in_array else body))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:
        return STREAM_HEADERS + _compute_headers(generations[0])

    async def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        """Yield TGI's events: one per token, the last one with the whole text.

        TGI's last token event is also the end, which a node may tell only later. A token that can be the last one (the
        token limit is reached, or it is special) waits for that; else a special token without text ends the stream.
        """
        (generation,) = generations
        texts: list[str] = []
        index = 0
        waiting: Token | None = None
        async for event in generation.events:
            if isinstance(event, Finished):
                last = waiting or Token(generation.model.eos_id, "", 0.0, special=True)
                yield self._last_frame(index + 1, last, "".join(texts), event)
                return
            frames: list[bytes] = []
            for token in _tokens_of(event):
                if waiting is not None:
                    index += 1
                    frames.append(_frame(index, waiting))
                waiting = token
                if not (token.special or index + 1 >= generation.max_new_tokens):
                    index += 1
                    frames.append(_frame(index, token))
                    waiting = None
            texts.append(event.text)
            if frames:
                yield b"".join(frames)

    def _last_frame(self, index: int, token: Token, text: str, finished: Finished) -> bytes:
        details = None
        if self.with_details:
            details = _reason(finished) | {
                "generated_tokens": finished.usage.completion_tokens,
                "seed": self.ask.request.sampling.seed,
                "input_length": finished.usage.prompt_tokens,
            }
        event: dict[str, Any] = {
            "index": index,
            "token": _token(token),
            "generated_text": self._full_text(text),
            "details": details,
        }
        if finished.reason is FinishReason.FILTERED:
            event["weir_finish_reason"] = FinishReason.FILTERED
        return b"data:%b\n\n" % orjson.dumps(event)

    def _full_text(self, text: str) -> str:
        return self.ask.request.prompt + text if self.with_full_text else text


def _frame(index: int, token: Token) -> bytes:
    body = orjson.dumps(_token(token))
    return b'data:{"index":%d,"token":%b,"generated_text":null,"details":null}\n\n' % (index, body)


def _token(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}


def _tokens_of(chunk: TokenChunk) -> tuple[Token, ...]:
    return chunk.tokens or (Token(0, chunk.text, 0.0),)


def _reason(finished: Finished) -> dict[str, Any]:
    """TGI has no word for a filtered answer, and clients check the words: it gets one, and ours beside it."""
    if finished.reason is FinishReason.FILTERED:
        return {"finish_reason": FinishReason.STOP, "weir_finish_reason": FinishReason.FILTERED}
    return {"finish_reason": finished.reason}


def _compute_headers(generation: Generation) -> Headers:
    characters = len(generation.ask.request.prompt)
    return [
        (b"x-compute-type", generation.pool.encode()),
        (b"x-compute-characters", b"%d" % characters),
        (b"x-prompt-tokens", b"%d" % generation.prompt_tokens),
    ]


def _timing_headers(generation: Generation, answer: Collected) -> Headers:
    """Times in milliseconds, but `x-compute-time` in seconds: so does TGI."""
    total_s = monotonic() - generation.began
    inference_s = max(monotonic() - generation.prepared - generation.queue_s, 0.0)
    count = answer.finished.usage.completion_tokens
    headers = {
        "x-compute-time": f"{total_s:.3f}",
        "x-total-time": _ms(total_s),
        "x-validation-time": _ms(generation.prepared - generation.began),
        "x-queue-time": _ms(generation.queue_s),
        "x-inference-time": _ms(inference_s),
        "x-time-per-token": _ms(inference_s / max(count, 1)),
        "x-generated-tokens": str(count),
    }
    if answer.finished.reason is FinishReason.FILTERED:
        headers["x-weir-finish-reason"] = FinishReason.FILTERED.value
    return [(key.encode(), value.encode()) for key, value in headers.items()]


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


def _error_body(error: WeirError, kind: str) -> bytes:
    return orjson.dumps({"error": str(error), "error_type": kind})


def _status_and_kind(error: WeirError) -> tuple[int, str]:
    """TGI's statuses; never 400, which huggingface_hub takes for another kind of server."""
    return next(((status, name) for kind, status, name in _STATUSES if isinstance(error, kind)), (500, "internal"))
