"""OpenAI's chat completions: `/v1/chat/completions`, whole or streamed."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import BaseModel

from weir.contracts.errors import BackendError, ValidationError, WeirError
from weir.contracts.events import Finished, FinishReason, Token, Usage
from weir.contracts.request import GenerateRequest, ToolUse
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.streams import Collected, Started, merged
from weir.gateway.surfaces.base import JSON_HEADERS, STREAM_HEADERS, Headers, Reply
from weir.gateway.surfaces.openai_absent import CHAT, decoded_asked
from weir.gateway.surfaces.openai_chat_wire import ChatBody, messages_of, tool_use_of
from weir.gateway.surfaces.openai_errors import error_event, error_reply
from weir.gateway.surfaces.openai_frames import DONE, REASONS, Frames, usage_of
from weir.gateway.surfaces.openai_logprobs import chat_logprobs
from weir.gateway.surfaces.openai_wire import choices_of, grammar_of, model_and_adapter, sampling_of
from weir.gateway.surfaces.tool_calls import Arguments, CallBegun, Content, Part, ToolCallReader

_ROLE = b'{"role":"assistant","content":""}'
_CUT = frozenset({FinishReason.LENGTH, FinishReason.FILTERED})


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
        parsed = decoded_asked(ChatBody, body, CHAT)
        request = _request(parsed, context)
        asks = tuple([Ask(choice, self.path, context) for choice in choices_of(request, parsed.n or 1)])
        tops = (parsed.top_logprobs or 0) if parsed.logprobs else None
        return ChatJob(asks, bool(parsed.stream), parsed.with_usage, tops, int(datetime.now(UTC).timestamp()))

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        return error_event(error)


def _request(body: ChatBody, context: RequestContext) -> GenerateRequest:
    if body.top_logprobs and not body.logprobs:
        raise ValidationError("`top_logprobs`: needs `logprobs: true`", "top_logprobs")
    tool_use, grammar = tool_use_of(body), grammar_of(body, body.response_format)
    if grammar is not None and tool_use is not None and tool_use.must_call:
        raise ValidationError("`response_format`: not beside a `tool_choice` that must be called", "response_format")
    more: dict[str, Any] = {} if grammar is None else {"grammar": grammar}
    if body.logprobs:
        more["logprobs"] = body.top_logprobs or 0
    if body.max_completion_tokens is None:
        sampling = sampling_of(body, max_new_tokens=body.max_tokens, **more)
    else:
        more["max_new_tokens"] = body.max_completion_tokens
        sampling = sampling_of(body, named="max_completion_tokens", **more)
    fields: dict[str, Any] = model_and_adapter(body.model)
    if tool_use is not None:
        fields["tool_use"] = tool_use
    if body.logprobs:
        fields["return_tokens"] = True
    return GenerateRequest.trusted(id=context.id, messages=messages_of(body), sampling=sampling, **fields)


@dataclass(frozen=True, slots=True)
class ChatJob:
    """One parsed request; `created` is in seconds since 1970. `tops`: alternatives per token, none: no logprobs."""

    asks: tuple[Ask, ...]
    is_stream: bool
    with_usage: bool
    tops: int | None
    created: int

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply:
        body = self._envelope(generations[0], "chat.completion")
        body["choices"] = [
            self._choice(number, generation, answer)
            for number, (generation, answer) in enumerate(zip(generations, answers, strict=True))
        ]
        usages = [answer.finished.usage for answer in answers]
        body["usage"] = usage_of(usages[:1], usages)
        return Reply(200, JSON_HEADERS, orjson.dumps(body))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:  # noqa: ARG002 - the same for every answer
        return STREAM_HEADERS

    def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        """Yield each choice's role, text and reason, then the usage if asked for, and `[DONE]`."""
        envelope = self._envelope(generations[0], "chat.completion.chunk")
        frames = Frames(envelope, delta=b"delta", with_usage=self.with_usage)
        is_plain = len(generations) == 1 and self.tops is None and self._tool_use is None
        return self._plain(frames, generations[0].events) if is_plain else self._full(frames, generations)

    async def _plain(self, frames: Frames, events: Started) -> AsyncGenerator[bytes, None]:
        """One answer of text alone: what nearly everybody asks for, and the shortest way."""
        head, tail, dumps = frames.head(0) + b'{"content":', b"}" + frames.tail, orjson.dumps
        yield frames.chunk(0, _ROLE)
        async for event in events:
            if isinstance(event, Finished):
                yield frames.end(0, b"{}", REASONS[event.reason]) + self._last(frames, [event.usage])
                return
            if event.text:
                yield head + dumps(event.text) + tail
        raise BackendError("the answer ended without saying why")

    async def _full(self, frames: Frames, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        yield b"".join(frames.chunk(index, _ROLE) for index in range(len(generations)))
        readers = [self._reader(generation) for generation in generations]
        usages: list[Usage] = []
        async for index, event in merged([generation.events for generation in generations]):
            reader = readers[index]
            if isinstance(event, Finished):
                usages.append(event.usage)
                yield self._end(frames, index, reader, event)
                continue
            text = [Content(event.text)] if event.text else []
            parts = text if reader is None else reader.feed(event.text)
            if frame := self._frames_of(frames, index, parts, event.tokens):
                yield frame
        yield self._last(frames, usages)

    def _last(self, frames: Frames, usages: Sequence[Usage]) -> bytes:
        return frames.usage(usage_of(usages[:1], usages)) + DONE if self.with_usage else DONE

    def _end(self, frames: Frames, index: int, reader: ToolCallReader | None, event: Finished) -> bytes:
        if reader is None:
            return frames.end(index, b"{}", REASONS[event.reason])
        rest = self._frames_of(frames, index, reader.flush(is_cut=event.reason in _CUT), ())
        return rest + frames.end(index, b"{}", _reason(event.reason, reader.calls))

    def _frames_of(self, frames: Frames, index: int, parts: Sequence[Part], tokens: Sequence[Token]) -> bytes:
        """Frame the parts; log-probabilities go with the first one, or with an empty one."""
        logprobs = self._logprobs(tokens) if tokens else None
        deltas = [_delta(part) for part in parts] or ([b"{}"] if logprobs else [])
        return b"".join(
            frames.chunk(index, delta, logprobs if number == 0 else None) for number, delta in enumerate(deltas)
        )

    def _choice(self, number: int, generation: Generation, answer: Collected) -> dict[str, Any]:
        reason = answer.finished.reason
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        said = REASONS[reason]
        reader = None if self._tool_use is None else self._reader(generation)
        if reader is not None:
            parts = [*reader.feed(answer.text), *reader.flush(is_cut=reason in _CUT)]
            message |= _message(parts)
            said = _reason(reason, reader.calls)
        logprobs = None if self.tops is None else self._logprobs(answer.tokens)
        return {"index": number, "message": message, "logprobs": logprobs, "finish_reason": said}

    def _reader(self, generation: Generation) -> ToolCallReader | None:
        use, form = self._tool_use, generation.model.prompts.tool_format
        if use is None or form is None:
            return None
        return ToolCallReader(form, {tool.name for tool in use.tools}, is_call=use.must_call)

    @property
    def _tool_use(self) -> ToolUse | None:
        return self.asks[0].request.tool_use

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        return None if self.tops is None else {"content": chat_logprobs(tokens, self.tops), "refusal": None}

    def _envelope(self, generation: Generation, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.asks[0].request.id}",
            "object": kind,
            "created": self.created,
            "model": generation.model_label,
            "system_fingerprint": f"{generation.model.name}-{generation.model.version}",
        }


def _reason(reason: FinishReason, calls: int) -> str:
    return "tool_calls" if calls and reason not in _CUT else REASONS[reason]


def _delta(part: Part) -> bytes:
    match part:
        case Content(text=text):
            return b'{"content":%b}' % orjson.dumps(text)
        case CallBegun(number=number, id=call_id, name=name):
            call = {"index": number, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
            return orjson.dumps({"tool_calls": [call]})
        case Arguments(number=number, text=text):
            return b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (number, orjson.dumps(text))


def _message(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the content and the calls of a whole answer; without any text the content is null."""
    text = "".join(part.text for part in parts if isinstance(part, Content))
    calls = [
        {
            "id": begun.id,
            "type": "function",
            "function": {
                "name": begun.name,
                "arguments": "".join(p.text for p in parts if isinstance(p, Arguments) and p.number == begun.number),
            },
        }
        for begun in parts
        if isinstance(begun, CallBegun)
    ]
    return {"content": text or None, "tool_calls": calls} if calls else {"content": text}
