"""OpenAI's responses: `/v1/responses`, whole or as typed events."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import orjson
from pydantic import BaseModel

from weir.contracts.errors import BackendError, ValidationError, WeirError
from weir.contracts.events import Finished, FinishReason, Token
from weir.contracts.request import GenerateRequest
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.streams import Collected
from weir.gateway.surfaces.base import JSON_HEADERS, STREAM_HEADERS, Headers, Reply, decoded
from weir.gateway.surfaces.openai_errors import error_object, error_reply
from weir.gateway.surfaces.openai_logprobs import chat_logprobs
from weir.gateway.surfaces.openai_responses_items import Frames, Output
from weir.gateway.surfaces.openai_responses_wire import (
    NamedFunctionTool,
    ResponsesBody,
    ResponseTool,
    check,
    grammar_of,
    messages_of,
    tool_use_of,
)
from weir.gateway.surfaces.openai_wire import model_and_adapter, sampling_of
from weir.gateway.surfaces.tool_calls import ToolCallReader

_INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.FILTERED: "content_filter"}


@dataclass(frozen=True, slots=True)
class ResponsesSurface:
    path: str = "/v1/responses"

    @property
    def body_model(self) -> type[BaseModel]:
        return ResponsesBody

    @property
    def summary(self) -> str:
        return "Response to text, whole or as typed server-sent events, with tools; nothing is stored (OpenAI)"

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
        use = tool_use_of(parsed)
        if sampling.grammar is not None and use is not None and use.must_call:
            raise ValidationError("`text.format`: not beside a `tool_choice` that must be called", "text.format")
        request = GenerateRequest(
            id=context.id,
            tool_use=use,
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
        output, reader = self._output(Frames()), self._reader(generation)
        finished, logprobs = answer.finished, self._logprobs(answer.tokens)
        if reader is None:
            output.text(answer.text, logprobs)
        else:
            output.take(reader.feed(answer.text), logprobs)
            output.take(reader.flush(is_cut=finished.reason in _INCOMPLETE))
        output.end(is_cut=finished.reason in _INCOMPLETE)
        return Reply(200, JSON_HEADERS, orjson.dumps(self._response(generation, output, finished)))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:  # noqa: ARG002 - the same for every answer
        return STREAM_HEADERS

    async def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        """Yield OpenAI's events: the response begins, then its items, one after the other, and all end."""
        (generation,) = generations
        frames, reader = Frames(), self._reader(generation)
        output, begun = self._output(frames), self._response(generation, None, None)
        head = frames.frame("response.created", response=begun) + frames.frame("response.in_progress", response=begun)
        yield head + (output.open_message() if reader is None else b"")
        async for event in generation.events:
            if isinstance(event, Finished):
                is_cut = event.reason in _INCOMPLETE
                rest = b"" if reader is None else output.take(reader.flush(is_cut=is_cut))
                rest += output.end(is_cut=is_cut)
                response = self._response(generation, output, event)
                yield rest + frames.frame(f"response.{response['status']}", response=response)
                return
            if event.text or (self.body.with_logprobs and event.tokens):
                logprobs = self._logprobs(event.tokens)
                parts = None if reader is None else reader.feed(event.text)
                if sent := output.text(event.text, logprobs) if parts is None else output.take(parts, logprobs):
                    yield sent
        raise BackendError("the answer ended without saying why")

    def _output(self, frames: Frames) -> Output:
        first = self.asks[0].request.id
        numbers = count(1)
        return Output(frames, lambda: f"msg_{first}" if (number := next(numbers)) == 1 else f"msg_{first}_{number}")

    def _reader(self, generation: Generation) -> ToolCallReader | None:
        use, form = self.asks[0].request.tool_use, generation.model.prompts.tool_format
        if use is None or form is None:
            return None
        return ToolCallReader(form, {tool.name for tool in use.tools}, is_call=use.must_call)

    def _logprobs(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        return chat_logprobs(tokens, self.body.top_logprobs or 0) if self.body.with_logprobs else []

    def _response(self, generation: Generation, output: Output | None, finished: Finished | None) -> dict[str, Any]:
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
            "output": [] if output is None else output.json(is_cut=lacking is not None),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature,
            "text": {"format": self._format()},
            "tool_choice": self._choice(),
            "tools": [_tool(tool) for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None if finished is None else _usage(finished),
            "user": body.user,
        }

    def _choice(self) -> str | dict[str, Any]:
        choice = self.body.tool_choice
        return choice.model_dump() if isinstance(choice, NamedFunctionTool) else choice or "auto"

    def _format(self) -> dict[str, Any]:
        form = self.body.text.format if self.body.text is not None else None
        return {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True)


def _tool(tool: ResponseTool) -> dict[str, Any]:
    return {**tool.model_dump(), "strict": tool.strict is not False}


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
