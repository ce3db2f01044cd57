"""What the bodies of OpenAI's text APIs have in common: sampling, streaming, the form of the answer."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final

import pydantic
from pydantic import Field, TypeAdapter

from weir.contracts.errors import UnknownModelError, ValidationError
from weir.contracts.grammar import Grammar, JsonObject
from weir.contracts.request import MODEL_NAME, GenerateRequest, SamplingParams
from weir.gateway.surfaces.base import Wire, sampling
from weir.gateway.surfaces.limits import MAX_ANSWERS, MAX_STOP_CHARS, MAX_STOPS
from weir.oip.grammar import read_grammar

_VLLM = ("structured_outputs", "guided_json", "guided_regex", "guided_choice")
_SEEDS = 2**64
_ADAPTER = re.compile(MODEL_NAME)
_GRAMMARS: TypeAdapter[Grammar] = TypeAdapter(Grammar)

Bias = Annotated[dict[Annotated[int, Field(ge=0, lt=2**31)], float], Field(max_length=300)]


class StreamOptions(Wire):
    include_usage: bool | None = None


class Sampled(Wire):
    """Sampling parameters of both completions APIs; vLLM's names for what OpenAI has not.

    Without a temperature decoding is greedy. Choice `i` of several is sampled with `seed` + i.
    """

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Bias | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=_SEEDS)
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None


class Asked(Sampled):
    """`user` and `metadata` are accepted and not used."""

    model: str | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_ANSWERS)
    max_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None

    @property
    def with_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class SchemaFormat(Wire):
    """`strict` or not, the answer is held to the schema."""

    name: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Wire):
    """`value` is huggingface_hub's place for a schema, or for a regular expression."""

    type: str = "text"
    json_schema: SchemaFormat | None = None
    value: dict[str, Any] | str | None = None


def _stops(given: str | list[str] | None) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given or []
    if len(stops) > MAX_STOPS:
        raise ValidationError(f"`stop` supports up to {MAX_STOPS} stop sequences. Given: {len(stops)}", "stop")
    if any(len(stop) > MAX_STOP_CHARS for stop in stops):
        raise ValidationError(f"`stop`: a stop sequence has at most {MAX_STOP_CHARS} characters", "stop")
    return tuple(stop for stop in stops if stop)


_SAMPLED: Final = frozenset(Sampled.model_fields)
_OURS: Final = {"min_tokens": "min_new_tokens"}
_READ: Final[dict[str, Callable[[Any], Any]]] = {
    "stop": _stops,
    "top_k": lambda top_k: max(top_k, 0),  # vLLM's -1 means all as well
    "seed": lambda seed: seed % _SEEDS,
}


def sampling_of(body: Sampled, *, named: str = "max_tokens", **more: Any) -> SamplingParams:
    """Translate what was given; `more` are `SamplingParams` that the APIs name differently, `named` its token limit.

    Raises:
        ValidationError: one is out of bounds.
    """
    for name in _SAMPLED & body.model_fields_set:
        value = getattr(body, name)
        if value is not None:
            read = _READ.get(name)
            more[_OURS.get(name, name)] = value if read is None else read(value)
    return sampling(renamed={"max_new_tokens": named, "min_new_tokens": "min_tokens"}, **more)


def grammar_of(body: Asked, given: ResponseFormat | None = None) -> Grammar | None:
    """Return what the answer is held to, in whichever way it was asked for: OpenAI's, huggingface_hub's or vLLM's.

    Raises:
        ValidationError: it is none, or there is more than one.
    """
    form = _form(given) if given is not None else None
    if body.model_fields_set.isdisjoint(_VLLM):
        return form
    field, wanted = read_grammar({name: getattr(body, name) for name in _VLLM})
    if wanted is None:
        return form
    if form is not None:
        raise ValidationError(f"`{field}`: not beside `response_format`", field)
    return _grammar(field, wanted)


def _form(given: ResponseFormat) -> Grammar | None:
    match given.type:
        case "text":
            return None
        case "json_object" | "json" if given.value is None:
            return JsonObject()
        case "json_object" | "json":
            return _grammar("response_format.value", {"type": "json_schema", "schema_text": given.value})
        case "json_schema":
            return _schema_form(given)
        case "regex":
            return _grammar("response_format.value", {"type": "regex", "pattern": given.value})
        case _:
            known = "text, json_object, json_schema, regex"
            raise ValidationError(f"`response_format.type`: one of {known} is needed", "response_format.type")


def _schema_form(given: ResponseFormat) -> Grammar:
    """The schema stands in `json_schema.schema`; in `value`, huggingface_hub's and TGI's place, it may be wrapped."""
    if given.json_schema is not None:
        field = "response_format.json_schema.schema"
        schema: Any = given.json_schema.schema_
    else:
        field, schema = "response_format.value", _unwrapped(given.value)
    if schema is None:
        raise ValidationError("`response_format.json_schema`: a schema is needed", "response_format.json_schema")
    return _grammar(field, {"type": "json_schema", "schema_text": schema})


def _unwrapped(value: Any) -> Any:
    is_wrapped = isinstance(value, dict) and isinstance(value.get("schema"), dict)
    return value["schema"] if is_wrapped else value


def schema_grammar(field: str, schema: dict[str, Any] | None) -> Grammar:
    """Return the grammar of a JSON schema that stands in `field`; no schema: any object."""
    return JsonObject() if schema is None else _grammar(field, {"type": "json_schema", "schema_text": schema})


def _grammar(field: str, value: dict[str, Any]) -> Grammar:
    try:
        return _GRAMMARS.validate_python(value)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ValidationError(f"`{field}`: {first['msg']}", field) from None


def model_and_adapter(name: str | None) -> dict[str, str | None]:
    """Read `model` or `model:adapter`, as `/v1/models` lists them, into fields of a `GenerateRequest`.

    The gateway's own address, which @huggingface/inference (npm) sends as the name, means the default model.

    Raises:
        UnknownModelError: no adapter can have such a name.
    """
    if name is None or ":" not in name:
        return {"model": name}
    if name.startswith(("http://", "https://")):
        return {"model": None}
    model, adapter = name.split(":", 1)
    if not _ADAPTER.match(adapter):
        raise UnknownModelError("this gateway does not serve the model that was asked for")
    return {"model": model, "adapter": adapter}


def choices_of(request: GenerateRequest, count: int) -> list[GenerateRequest]:
    """Return `count` requests that differ in their ids and, when there is one, in their seeds."""
    return [request] if count == 1 else [request, *(_other(request, number) for number in range(1, count))]


def _other(request: GenerateRequest, number: int) -> GenerateRequest:
    sampling = request.sampling
    if sampling.seed is not None:
        sampling = sampling.model_copy(update={"seed": (sampling.seed + number) % _SEEDS})
    return request.model_copy(update={"id": f"{request.id[:120]}-{number}", "sampling": sampling})
