"""Triton's generate extension: `/v2/models/{model}[/versions/{version}]/generate` and `/generate_stream`."""

import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import orjson
from pydantic import BaseModel, Field

from weir.contracts.errors import UnknownModelError, ValidationError, WeirError
from weir.contracts.events import Finished, TokenChunk
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.refusals import ContextTooLongError, UnknownAdapterError
from weir.gateway.streams import Collected
from weir.gateway.surfaces.base import JSON_HEADERS, STREAM_HEADERS, Headers, Reply, Wire, retry_after
from weir.gateway.surfaces.limits import MAX_LOGIT_BIAS, MAX_STOP_CHARS, MAX_STOPS
from weir.oip.wire import AnswerWriter, NodeCall, parse_call

# What other parts call a field, and what it is called here.
_FIELDS = {"grammar": "structured_outputs", "adapter": "lora_name", "`prompt`": "prompt_token_ids"}


class TritonBody(Wire):
    """Sampling parameters have vLLM's names; they stand in `sampling_parameters`, in `parameters` or here.

    Every other key may stand in `parameters` as well; one with different values in two places is refused. Without a
    temperature decoding is greedy.
    """

    text_input: str = Field(min_length=1)
    id: str | None = Field(default=None, description="given back as it is")
    stream: bool | None = None
    parameters: dict[str, Any] | None = None
    sampling_parameters: dict[str, Any] | str | None = Field(default=None, description="an object, or its JSON text")
    exclude_input_in_output: bool | None = Field(default=None, description="false: the input stands before the answer")
    return_finish_reason: bool | None = None
    return_num_input_tokens: bool | None = None
    return_num_output_tokens: bool | None = None
    return_tokens: bool | None = Field(default=None, description="ids, texts and log-probabilities")
    prompt_token_ids: list[int] | None = Field(default=None, description="read in place of `text_input`, as they are")
    lora_name: str | None = Field(default=None, description="one of the release's adapters")
    deadline_s: float | None = None
    priority: int | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    min_tokens: int | None = Field(default=None, ge=0)
    temperature: float | None = Field(default=None, ge=0, le=100)
    top_k: int | None = Field(default=None, ge=-1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    typical_p: float | None = Field(default=None, gt=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=100)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = None
    seed: int | None = Field(default=None, ge=0)
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)
    prompt_logprobs: int | None = Field(default=None, ge=0, le=20)
    structured_outputs: dict[str, Any] | None = Field(default=None, description="json, regex, choice or json_object")


@dataclass(frozen=True, slots=True)
class TritonSurface:
    """One of the two routes; `of` says for which model. Metrics see the pattern, never what a caller put into it."""

    path: str
    streams: bool = False
    model: str = ""
    version: str | None = None

    @property
    def body_model(self) -> type[BaseModel]:
        return TritonBody

    @property
    def summary(self) -> str:
        return "Generate text as server-sent events (Triton)" if self.streams else "Generate text (Triton)"

    def of(self, model: str, version: str | None = None) -> "TritonSurface":
        return replace(self, model=model, version=version)

    def parse(self, body: bytes, context: RequestContext) -> "TritonJob":
        call = parse_call(body, self.model, request_id=context.id)
        _check_stops(call)
        request = call.request
        context = _with_wishes(call, context)
        # What a caller's salt may share is for the gateway to say; priority and deadline go through the context.
        request = request.model_copy(update={"cache_salt": None, "priority": 0, "deadline_s": None})
        is_stream = self.streams if call.stream is None else call.stream
        ask = Ask(request, self.path, context, version=_version(self.version), is_raw=bool(request.prompt_ids))
        return TritonJob(ask, call, is_stream)

    def error(self, error: WeirError) -> Reply:
        status = 422 if isinstance(error, UnknownAdapterError) else error.status.value
        return Reply(status, JSON_HEADERS + retry_after(error), orjson.dumps({"error": _words(error)}))

    def late_error(self, error: WeirError) -> bytes:
        return b"data: %b\n\n" % orjson.dumps({"error": _words(error)})


def _check_stops(call: NodeCall) -> None:
    sampling = call.request.sampling
    if len(sampling.stop) > MAX_STOPS or any(len(stop) > MAX_STOP_CHARS for stop in sampling.stop):
        message = f"stop: at most {MAX_STOPS} stop sequences of at most {MAX_STOP_CHARS} characters"
        raise ValidationError(message, "stop")
    if len(sampling.logit_bias) > MAX_LOGIT_BIAS:
        raise ValidationError(f"logit_bias: at most {MAX_LOGIT_BIAS} tokens", "logit_bias")


def _with_wishes(call: NodeCall, context: RequestContext) -> RequestContext:
    """What the body says of scheduling counts where the headers say nothing; of two deadlines the earlier one does."""
    request = call.request
    if request.deadline_s is not None:
        deadline = monotonic() + request.deadline_s
        context = replace(context, deadline=min(deadline, context.deadline or deadline))
    if request.priority and not context.priority:
        context = replace(context, priority=request.priority)
    return context


def _version(text: str | None) -> int | None:
    """Return the version that the path names.

    Raises:
        UnknownModelError: it is no positive integer.
    """
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text):
        raise UnknownModelError("versions are positive integers")
    return int(text)


@dataclass(frozen=True, slots=True)
class TritonJob:
    """One parsed request, written as a node writes its answers."""

    ask: Ask
    call: NodeCall
    is_stream: bool

    @property
    def asks(self) -> tuple[Ask]:
        return (self.ask,)

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply:
        (generation,), (answer,) = generations, answers
        chunk = TokenChunk(answer.text, 0, tuple(answer.tokens), tuple(answer.prompt))
        return Reply(200, JSON_HEADERS, self._writer(generation).whole([chunk], answer.finished))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:  # noqa: ARG002 - the same for every answer
        return STREAM_HEADERS

    async def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        (generation,) = generations
        writer = self._writer(generation)
        async for event in generation.events:
            if isinstance(event, Finished):
                yield writer.end(event)
                return
            yield writer.chunk(event)

    def _writer(self, generation: Generation) -> AnswerWriter:
        return AnswerWriter(self.call, generation.model.name, generation.model.version, prompt=generation.prompt)


def _words(error: WeirError) -> str:
    """Return the message with the field named as the caller wrote it."""
    if isinstance(error, ContextTooLongError):
        asked = "" if error.max_new_tokens is None else f" and max_tokens {error.max_new_tokens}"
        return f"text_input: {error.prompt_tokens} tokens{asked} do not fit into a context of {error.context_tokens}"
    field, colon, rest = str(error).partition(": ")
    return f"{_FIELDS[field]}: {rest}" if colon and field in _FIELDS else str(error)
