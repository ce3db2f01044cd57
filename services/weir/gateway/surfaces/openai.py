"""OpenAI's chat completions: `/v1/chat/completions`, whole or streamed, and its error objects."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import BaseModel

from weir.asgi.body import BodyTooLargeError
from weir.contracts.errors import (
    BackendError,
    OverloadedError,
    PromptBlockedError,
    RequestRejectedError,
    UnknownModelError,
    ValidationError,
    WeirError,
)
from weir.contracts.events import Finished, FinishReason, Usage
from weir.contracts.request import GenerateRequest
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.refusals import SaturatedError, UnreadableBodyError
from weir.gateway.streams import Collected
from weir.gateway.surfaces.base import JSON_HEADERS, STREAM_HEADERS, Headers, Reply, decoded, retry_after
from weir.gateway.surfaces.openai_wire import ChatBody, check, messages_of, sampling_of

_DONE = b"data: [DONE]\n\n"
_REASONS = {
    FinishReason.EOS: "stop",
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.FILTERED: "content_filter",
}


@dataclass(frozen=True, slots=True)
class ChatSurface:
    path: str = "/v1/chat/completions"

    @property
    def body_model(self) -> type[BaseModel]:
        return ChatBody

    @property
    def summary(self) -> str:
        return "Chat completion, whole or as server-sent events (OpenAI)"

    def parse(self, body: bytes, context: RequestContext) -> "ChatJob":
        parsed = decoded(ChatBody, body)
        check(parsed)
        messages, sampling = messages_of(parsed), sampling_of(parsed)
        request = GenerateRequest(id=context.id, model=parsed.model, messages=messages, sampling=sampling)
        with_usage = bool(parsed.stream_options and parsed.stream_options.include_usage)
        return ChatJob(
            Ask(request, self.path, context), bool(parsed.stream), with_usage, int(datetime.now(UTC).timestamp())
        )

    def error(self, error: WeirError) -> Reply:
        return Reply(_status(error), JSON_HEADERS + retry_after(error), orjson.dumps(error_object(error)))

    def late_error(self, error: WeirError) -> bytes:
        return b"data: %b\n\n" % orjson.dumps(error_object(error))


@dataclass(frozen=True, slots=True)
class ChatJob:
    """One parsed request; `created` is in seconds since 1970."""

    ask: Ask
    is_stream: bool
    with_usage: bool
    created: int

    @property
    def asks(self) -> tuple[Ask]:
        return (self.ask,)

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply:
        (generation,), (answer,) = generations, answers
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": None,
            "finish_reason": _REASONS[answer.finished.reason],
        }
        body = self._envelope(generation, "chat.completion", [choice])
        body["usage"] = _usage(answer.finished.usage)
        return Reply(200, JSON_HEADERS, orjson.dumps(body))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:  # noqa: ARG002 - the same for every answer
        return STREAM_HEADERS

    async def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        """Yield the role, the text, the reason, the usage if asked for, and `[DONE]`."""
        (generation,) = generations
        head, tail = self._chunk_frame(generation)
        yield head + b'{"role":"assistant","content":""}' + tail % b"null"
        async for event in generation.events:
            if isinstance(event, Finished):
                end = head + b"{}" + tail % orjson.dumps(_REASONS[event.reason])
                yield end + self._usage_frame(generation, event.usage) + _DONE
                return
            if event.text:
                yield head + b'{"content":%b}' % orjson.dumps(event.text) + tail % b"null"

    def _chunk_frame(self, generation: Generation) -> tuple[bytes, bytes]:
        """Return what stands before and after a chunk's delta; the only part that differs is encoded per chunk."""
        envelope = orjson.dumps(self._envelope(generation, "chat.completion.chunk", []))[: -len(b"[]}")]
        usage = b',"usage":null' if self.with_usage else b""
        head = b'data: %b[{"index":0,"delta":' % envelope
        return head, b',"logprobs":null,"finish_reason":%b}]' + usage + b"}\n\n"

    def _usage_frame(self, generation: Generation, usage: Usage) -> bytes:
        if not self.with_usage:
            return b""
        body = self._envelope(generation, "chat.completion.chunk", []) | {"usage": _usage(usage)}
        return b"data: %b\n\n" % orjson.dumps(body)

    def _envelope(self, generation: Generation, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.ask.request.id}",
            "object": kind,
            "created": self.created,
            "model": generation.model.name,
            "choices": choices,
        }


def error_object(error: WeirError) -> dict[str, Any]:
    """Return OpenAI's error object."""
    return {
        "error": {
            "message": str(error),
            "type": _type(error),
            "param": getattr(error, "field", None),
            "code": _code(error),
        }
    }


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _status(error: WeirError) -> int:
    """OpenAI says 400 to a wrong field. A blocked prompt and unreadable text are 422 on every surface of Weir."""
    if isinstance(error, ValidationError) and not isinstance(error, UnreadableBodyError):
        return 400
    return error.status.value


def _type(error: WeirError) -> str:
    match error:
        case SaturatedError():
            return "server_error"  # as OpenAI's own 503; its code is `overloaded`
        case OverloadedError():
            return "rate_limit_error"
        case RequestRejectedError() | UnknownModelError():
            return "invalid_request_error"
        case BackendError():
            return "upstream_error"
        case _:
            return "server_error"


def _code(error: WeirError) -> str | None:
    match error:
        case PromptBlockedError():
            return "content_filter"
        case UnknownModelError():
            return "model_not_found"
        case UnreadableBodyError() | BodyTooLargeError():
            return error.code
        case ValidationError():
            return error.code if error.code != ValidationError.code else "invalid_value"
        case _:
            return error.code
