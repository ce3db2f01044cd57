"""The wire form: Open Inference Protocol v2 as Triton's vLLM backend speaks it over HTTP.

Request: `{"text_input": str, "sampling_parameters": object | JSON string, "stream": bool, ...}`. Every key but
`text_input` may also stand in `parameters`; sampling parameters may stand there too, or beside `text_input`. A key with
different values in two places is refused. Unknown keys are ignored. Defaults differ from vLLM where those surprise:
greedy, no token limit but the context, the input is not repeated, finish reason and counts are given unless switched
off. Weir's own: `return_tokens`, `priority` (higher goes first), `deadline_s`, `cache_salt`, `lora_name`, an adapter,
and `prompt_token_ids`, which are read in place of `text_input`, their text (see `GenerateRequest`).

Sampling parameters have vLLM's names: `SamplingParams` with `max_tokens` for `max_new_tokens`, `min_tokens` for
`min_new_tokens`, and `structured_outputs` for the grammar: an object with one of `json` (a schema, as an object or its
text), `regex`, `choice` (a list of texts) and `json_object` (true). vLLM's older `guided_json`, `guided_regex` and
`guided_choice` mean the same.

Answer, streamed: one event per chunk (`model_name`, `model_version`, `text_output`: the new text, `num_output_tokens`,
and `tokens` if they or `logprobs` were asked for), then an event of its own with `"text_output": ""`, `finish_reason`
(`eos_token`, `stop_sequence` or `length`), `num_input_tokens` and `num_output_tokens`. As with vLLM,
`num_output_tokens` is what that event brought (0 in the last one); they add up to the count. With `prompt_logprobs`,
events with `prompt_tokens` and nothing new come before the first chunk, each of a bounded size. Not streamed: one
object with all of it. An error is `{"error": words, "code": code, "field": path of the wrong field, if one}`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
from pydantic import ValidationError as PydanticError

from weir.contracts.errors import ValidationError, WeirError
from weir.contracts.events import Finished, PromptToken, TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.oip.fields import OURS, SAMPLING, THEIRS, Fields, Sampling, json_object
from weir.oip.grammar import read_grammar

_THEIRS = THEIRS | {"adapter": "lora_name", "prompt_ids": "prompt_token_ids"}
_SCHEDULING = ("priority", "deadline_s", "cache_salt")
_PROMPT_TOKENS_PER_EVENT = 64
BEAT_S = 0.1  # between two signs of life, from a node whose server cannot tell whether the model lives


@dataclass(frozen=True, slots=True)
class NodeCall:
    """One parsed request. `stream` is None when the body does not say."""

    request: GenerateRequest
    id: str | None
    stream: bool | None
    repeat_input: bool
    give_reason: bool
    give_input_count: bool
    give_output_count: bool


def parse_call(body: bytes, model: str, *, request_id: str | None = None, traceparent: str | None = None) -> NodeCall:
    """Read a generate request; its `id` is the request's, unless `request_id` is given.

    Raises:
        ValidationError: not JSON, or a field is missing, of the wrong type or out of bounds.
    """
    fields = Fields(json_object(body, "body"))
    text = fields.top.get("text_input")
    if not isinstance(text, str) or not text:
        raise ValidationError("text_input: a non-empty string is needed", "text_input")
    call_id = fields.top.get("id")
    return NodeCall(
        request=_request(request_id or call_id, model, text, fields, traceparent),
        id=call_id if isinstance(call_id, str) else None,
        stream=fields.flag("stream"),
        repeat_input=fields.flag("exclude_input_in_output") is False,
        give_reason=fields.flag("return_finish_reason") is not False,
        give_input_count=fields.flag("return_num_input_tokens") is not False,
        give_output_count=fields.flag("return_num_output_tokens") is not False,
    )


def _request(call_id: Any, model: str, text: str, fields: Fields, traceparent: str | None) -> GenerateRequest:
    sampling = _sampling(fields.sampling())
    try:
        return GenerateRequest(
            id=call_id or uuid4().hex,
            model=model,
            prompt=text,
            sampling=sampling,
            return_tokens=fields.flag("return_tokens") or False,
            adapter=fields.get("lora_name"),
            prompt_ids=fields.get("prompt_token_ids") or (),
            traceparent=traceparent,
            **{name: value for name in _SCHEDULING if (value := fields.get(name)) is not None},
        )
    except PydanticError as error:
        raise _first_error(error) from error


def _sampling(given: Sampling) -> SamplingParams:
    values = given.values
    wanted = {OURS.get(name, name): values[name] for name in SAMPLING if values.get(name) is not None}
    if isinstance(wanted.get("stop"), str):
        wanted["stop"] = (wanted["stop"],)
    if wanted.get("top_k") == -1:  # vLLM's "all"
        wanted["top_k"] = 0
    grammar_field, wanted["grammar"] = read_grammar(values, given.named)
    try:
        return SamplingParams(**wanted)
    except PydanticError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        if first["loc"][0] == "grammar":
            raise ValidationError(f"{grammar_field}: {first['msg']}", grammar_field) from error
        raise _first_error(error, given.named) from error


def _first_error(error: PydanticError, named: Callable[[str], str] = str) -> ValidationError:
    """Say in the caller's own field name what was wrong; never what was given."""
    first = error.errors(include_input=False, include_url=False)[0]
    path = [_THEIRS.get(str(part), str(part)) for part in first["loc"]]
    field = named(".".join(path))
    return ValidationError(f"{field}: {first['msg'].removeprefix('Value error, ')}", field)


def parse_load(body: bytes) -> dict[str, Any]:
    """Read a load request's `parameters`; an empty body means none.

    Raises:
        ValidationError: not a JSON object, or its parameters are not one.
    """
    return Fields(json_object(body, "body") if body.strip() else {}).parameters


class AnswerWriter:
    """Writes one call's events in the wire form."""

    def __init__(self, call: NodeCall, model: str, version: int, *, prompt: str | None = None) -> None:
        """`prompt`: what is repeated before the answer, where it is not the call's own."""
        self._call = call
        self._head: dict[str, Any] = {"model_name": model, "model_version": str(version)}
        if call.id is not None:
            self._head["id"] = call.id
        self._prefix = (call.request.prompt if prompt is None else prompt) if call.repeat_input else ""

    def chunk(self, chunk: TokenChunk) -> bytes:
        """One server-sent event; before it, events of a bounded size for the prompt's tokens."""
        event = {**self._head, "text_output": self._prefixed(chunk.text), **self._tokens([chunk])}
        if self._call.give_output_count:
            event["num_output_tokens"] = chunk.token_count
        return self._prompt_events(chunk.prompt) + _sse(event) if chunk.prompt else _sse(event)

    def _prompt_events(self, prompt: tuple[PromptToken, ...]) -> bytes:
        nothing = {
            **self._head,
            "text_output": "",
            **({"num_output_tokens": 0} if self._call.give_output_count else {}),
        }
        slices = (prompt[i : i + _PROMPT_TOKENS_PER_EVENT] for i in range(0, len(prompt), _PROMPT_TOKENS_PER_EVENT))
        return b"".join(_sse({**nothing, "prompt_tokens": part}) for part in slices)

    def end(self, finished: Finished) -> bytes:
        return _sse({**self._head, "text_output": self._prefixed(""), **self._counts(finished, brought=0)})

    def whole(self, chunks: list[TokenChunk], finished: Finished) -> bytes:
        """The body of an answer that is not streamed."""
        text = self._prefixed("".join(chunk.text for chunk in chunks))
        counts = self._counts(finished, brought=finished.usage.completion_tokens)
        prompt = [token for chunk in chunks for token in chunk.prompt]
        given = {"prompt_tokens": prompt} if prompt else {}
        return orjson.dumps({**self._head, "text_output": text, **given, **self._tokens(chunks), **counts})

    def _prefixed(self, text: str) -> str:
        prefix, self._prefix = self._prefix, ""
        return prefix + text

    def _tokens(self, chunks: list[TokenChunk]) -> dict[str, Any]:
        if not self._call.request.gives_tokens:
            return {}
        return {"tokens": [token for chunk in chunks for token in chunk.tokens]}  # orjson writes dataclasses

    def _counts(self, finished: Finished, *, brought: int) -> dict[str, Any]:
        counts: dict[str, Any] = {}
        if self._call.give_reason:
            counts["finish_reason"] = finished.reason
        if self._call.give_input_count:
            counts["num_input_tokens"] = finished.usage.prompt_tokens
        if self._call.give_output_count:
            counts["num_output_tokens"] = brought
        return counts


def error_body(error: WeirError) -> bytes:
    return orjson.dumps(_error(error))


def error_event(error: WeirError) -> bytes:
    """An error after the first event: the status was sent, so it comes in the stream."""
    return _sse(_error(error))


def _error(error: WeirError) -> dict[str, Any]:
    field = getattr(error, "field", None)
    return {"error": str(error), "code": error.code} | ({"field": field} if field else {})


def _sse(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
