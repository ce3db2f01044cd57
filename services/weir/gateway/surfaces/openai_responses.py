"""OpenAI's responses: `/v1/responses`, whole or as typed events."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import BaseModel

from weir.contracts.errors import BackendError, WeirError
from weir.contracts.events import Finished, FinishReason, Token
from weir.contracts.request import GenerateRequest
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.streams import Collected
from weir.gateway.surfaces.base import JSON_HEADERS, STREAM_HEADERS, Headers, Reply, decoded
from weir.gateway.surfaces.openai_errors import error_object, error_reply
from weir.gateway.surfaces.openai_logprobs import chat_logprobs
from weir.gateway.surfaces.openai_responses_wire import ResponsesBody, check, grammar_of, messages_of
from weir.gateway.surfaces.openai_wire import model_and_adapter, sampling_of

_INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.FILTERED: "content_filter"}


@dataclass(frozen=True, slots=True)
class ResponsesSurface:
    path: str = "/v1/responses"

    @property
    def body_model(self) -> type[BaseModel]:
        return ResponsesBody

    @property
    def summary(self) -> str:
        return "Response to text, whole or as typed server-sent events; nothing is stored (OpenAI)"

    def parse(self, body: bytes, context: RequestContext) -> "ResponsesJob":
        parsed = decoded(ResponsesBody, body)
        check(parsed)
        sampling = sampling_of(
            parsed,
            named="max_output_tokens",
            max_new_tokens=parsed.max_output_tokens,
            logprobs=(parsed.top_logprobs or 0) if parsed.with_logprobs else None,
            grammar=grammar_of(parsed),
        )
        request = GenerateRequest(
            id=context.id,
            messages=messages_of(parsed),
            sampling=sampling,
            return_tokens=parsed.with_logprobs,
            **model_and_adapter(parsed.model),
        )
        return ResponsesJob((Ask(request, self.path, context),), parsed, int(datetime.now(UTC).timestamp()))

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        """The error object is what the openai package raises by; the rest is the event's documented form."""
        body = error_object(error)
        return b"event: error\ndata: %b\n\n" % orjson.dumps({**body["error"], **body, "type": "error"})


@dataclass(frozen=True, slots=True)
class ResponsesJob:
    """One parsed request; `created` is in seconds since 1970."""

    asks: tuple[Ask]
    body: ResponsesBody
    created: int

    @property
    def is_stream(self) -> bool:
        return bool(self.body.stream)

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply:
        (generation,), (answer,) = generations, answers
        written = _Written(self._item_id, [answer.text], self._logprobs(answer.tokens))
        return Reply(200, JSON_HEADERS, orjson.dumps(self._response(generation, written, answer.finished)))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:  # noqa: ARG002 - the same for every answer
        return STREAM_HEADERS

    async def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        """Yield OpenAI's events: the response and its one message begin, the text, both end."""
        (generation,) = generations
        events, written = _Events(self._item_id), _Written(self._item_id)
        begun = self._response(generation, None, None)
        yield events.begin(begun)
        async for event in generation.events:
            if isinstance(event, Finished):
                yield events.end(written, self._response(generation, written, event))
                return
            if event.text or (self.body.with_logprobs and event.tokens):
                logprobs = self._logprobs(event.tokens)
                written.texts.append(event.text)
                written.logprobs += logprobs
                yield events.delta(event.text, logprobs)
        raise BackendError("the answer ended without saying why")

    @property
    def _item_id(self) -> str:
        return f"msg_{self.asks[0].request.id}"

    def _logprobs(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        return chat_logprobs(tokens, self.body.top_logprobs or 0) if self.body.with_logprobs else []

    def _response(
        self, generation: Generation, written: "_Written | None", finished: Finished | None
    ) -> dict[str, Any]:
        body = self.body
        lacking = _INCOMPLETE.get(finished.reason) if finished is not None else None
        return {
            "id": f"resp_{self.asks[0].request.id}",
            "object": "response",
            "created_at": self.created,
            "status": "in_progress" if finished is None else "incomplete" if lacking else "completed",
            "background": False,
            "error": None,
            "incomplete_details": {"reason": lacking} if lacking else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": generation.model_label,
            "output": [] if written is None else [written.item(lacking)],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature,
            "text": {"format": self._format()},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None if finished is None else _usage(finished),
            "user": body.user,
        }

    def _format(self) -> dict[str, Any]:
        form = self.body.text.format if self.body.text is not None else None
        return {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True)


@dataclass(slots=True)
class _Written:
    """The one message of a response, as far as it is known."""

    item_id: str
    texts: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def part(self) -> dict[str, Any]:
        text = "".join(self.texts)
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self.logprobs}

    def item(self, lacking: str | None) -> dict[str, Any]:
        status = "incomplete" if lacking else "completed"
        return {
            "id": self.item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [self.part()],
        }


class _Events:
    """Frames one stream's events and numbers them."""

    def __init__(self, item_id: str) -> None:
        self._number = 0
        self._place = {"item_id": item_id, "output_index": 0, "content_index": 0}
        place = orjson.dumps(self._place)[1:-1]
        kind = b"response.output_text.delta"
        self._delta = b'event: %b\ndata: {"type":"%b",%b,"delta":' % (kind, kind, place)

    def begin(self, response: dict[str, Any]) -> bytes:
        item = {"id": self._place["item_id"], "type": "message", "role": "assistant", "status": "in_progress"}
        part = _Written("").part()
        return b"".join(
            (
                self._frame("response.created", response=response),
                self._frame("response.in_progress", response=response),
                self._frame("response.output_item.added", output_index=0, item={**item, "content": []}),
                self._frame("response.content_part.added", **self._place, part=part),
            )
        )

    def delta(self, text: str, logprobs: list[dict[str, Any]]) -> bytes:
        number = self._next()
        scores = orjson.dumps(logprobs) if logprobs else b"[]"
        return b'%b%b,"logprobs":%b,"sequence_number":%d}\n\n' % (self._delta, orjson.dumps(text), scores, number)

    def end(self, written: _Written, response: dict[str, Any]) -> bytes:
        part, item = written.part(), response["output"][0]
        return b"".join(
            (
                self._frame("response.output_text.done", **self._place, text=part["text"], logprobs=part["logprobs"]),
                self._frame("response.content_part.done", **self._place, part=part),
                self._frame("response.output_item.done", output_index=0, item=item),
                self._frame(f"response.{response['status']}", response=response),
            )
        )

    def _frame(self, kind: str, **fields: Any) -> bytes:
        body = orjson.dumps({"type": kind, **fields, "sequence_number": self._next()})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    def _next(self) -> int:
        self._number += 1
        return self._number - 1


def _usage(finished: Finished) -> dict[str, Any]:
    """How much of a prompt a node had cached is not told: 0."""
    usage = finished.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
