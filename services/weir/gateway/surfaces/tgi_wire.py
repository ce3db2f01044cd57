"""The bodies of text-generation-inference (TGI 3.3): https://github.com/huggingface/text-generation-inference."""

import re
import secrets
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import Any, Literal

import orjson
import pydantic
from pydantic import Field

from weir.contracts.errors import ValidationError
from weir.contracts.grammar import Grammar, JsonObject, JsonSchema, Regex
from weir.contracts.request import MODEL_NAME, SamplingParams
from weir.gateway.json_body import parse_json
from weir.gateway.refusals import UnsupportedError
from weir.gateway.surfaces.base import Wire, checked, sampling
from weir.gateway.surfaces.limits import MAX_ANSWERS, MAX_STOP_CHARS, MAX_STOPS, MAX_TOP_TOKENS

_SEEDS = 1 << 53  # every reader of JSON keeps a whole number below this
_DRAWN_OR_LARGE = frozenset({"seed", "grammar"})
_MOST_REMEMBERED = 512  # bytes


class TgiGrammar(Wire):
    """`json`: `value` is a JSON schema, an object or its text. `json_schema`: `{"name"?, "schema"}`. `regex`: a text.

    `json_object` is `json`; without a value it means any JSON object.
    """

    type: Literal["json", "json_object", "json_schema", "regex"]
    value: Any | None = None


class TgiParameters(Wire):
    """Every field may be null, which is the same as leaving it out.

    Sampling: with `do_sample: false`, temperature, top_k, top_p and typical_p are ignored and decoding is greedy.
    Otherwise it samples when `do_sample: true` or a temperature is given, and is greedy when neither is: an answer that
    was trained is the answer that is given.
    """

    adapter_id: str | None = Field(default=None, description="one of the release's adapters")
    best_of: int | None = Field(default=None, ge=1, le=MAX_ANSWERS, description="more than 1: not when streaming")
    decoder_input_details: bool | None = Field(
        default=None, description="`details.prefill`: the prompt's tokens as the model read them; not when streaming"
    )
    details: bool | None = None
    do_sample: bool | None = None
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    grammar: TgiGrammar | None = None
    max_new_tokens: int | None = None
    repetition_penalty: float | None = None
    return_full_text: bool | None = None
    seed: int | None = Field(default=None, description="the one that was used is given back when it sampled")
    stop: list[str] | None = Field(
        default=None, description=f"at most {MAX_STOPS}, each of at most {MAX_STOP_CHARS} characters"
    )
    temperature: float | None = None
    top_k: int | None = None
    top_n_tokens: int | None = Field(default=None, ge=0, le=MAX_TOP_TOKENS)
    top_p: float | None = None
    truncate: int | None = Field(default=None, description="keep so many last tokens of `inputs`")
    typical_p: float | None = None
    watermark: bool | None = Field(default=None, description="true is refused: Weir has no watermark")

    @property
    def wants_details(self) -> bool:
        return bool(self.details or self.decoder_input_details)

    @cached_property
    def sampling(self) -> SamplingParams | None:
        """The same for all requests that say the same; none: each has a seed of its own."""
        return None if self.samples and self.seed is None else _sampling_of(self, self.seed)

    @property
    def samples(self) -> bool:
        return self.do_sample is True or (self.do_sample is None and self.temperature is not None)


class TgiBody(Wire):
    """`stream` is honoured on `/` and `/generate`; `/generate_stream` always streams."""

    inputs: str
    parameters: TgiParameters | None = None
    stream: bool | None = None

    @property
    def given(self) -> TgiParameters:
        return self.parameters or _NONE_GIVEN


_NONE_GIVEN = TgiParameters()


def check(body: TgiBody, *, is_stream: bool) -> None:
    """Refuse what would otherwise be ignored without a word.

    Raises:
        ValidationError: `inputs` is empty, or a bound of TGI is broken.
        UnsupportedError: a feature that Weir does not have.
    """
    if not body.inputs:
        raise ValidationError("`inputs` cannot be empty", "inputs")
    given = body.given
    if given.watermark:
        raise UnsupportedError("parameters.watermark", "`watermark`: Weir does not watermark its answers")
    _check_stops(given.stop or [])
    if given.truncate is not None and given.truncate < 1:
        raise ValidationError("`truncate` must be strictly positive", "parameters.truncate")
    _check_best_of(given, is_stream=is_stream)
    if is_stream and given.decoder_input_details:
        message = "`decoder_input_details` == true is not supported when streaming tokens"
        raise ValidationError(message, "parameters.decoder_input_details")


def _check_stops(stops: list[str]) -> None:
    if len(stops) > MAX_STOPS:
        message = f"`stop` supports up to {MAX_STOPS} stop sequences. Given: {len(stops)}"
        raise ValidationError(message, "parameters.stop")
    if any(len(stop) > MAX_STOP_CHARS for stop in stops):
        message = f"`stop`: a stop sequence has at most {MAX_STOP_CHARS} characters"
        raise ValidationError(message, "parameters.stop")


def _check_best_of(given: TgiParameters, *, is_stream: bool) -> None:
    if (given.best_of or 1) == 1:
        return
    field = "parameters.best_of"
    if is_stream:
        raise ValidationError("`best_of` != 1 is not supported when streaming tokens", field)
    if not given.samples:
        raise ValidationError("you must use sampling (`do_sample`: true) when `best_of` is > 1", field)
    if given.seed is not None:
        raise ValidationError("`seed` must not be set when `best_of` > 1", "parameters.seed")


def parsed(body: bytes) -> TgiBody:
    """As `decoded`; parameters that were read before are not read again.

    Raises:
        UnreadableBodyError, ValidationError: as `decoded`.
    """
    value = parse_json(body)
    given = value.get("parameters") if isinstance(value, dict) else None
    if isinstance(given, dict) and _DRAWN_OR_LARGE.isdisjoint(given):
        text = orjson.dumps(given)
        if len(text) <= _MOST_REMEMBERED:
            with suppress(pydantic.ValidationError):  # whoever reads the whole says where it is
                value["parameters"] = _known(text)
    return checked(TgiBody, value)


@lru_cache(maxsize=256)
def _known(parameters: bytes) -> TgiParameters:
    """Most clients ask for the same again and again."""
    return TgiParameters.model_validate(orjson.loads(parameters))


def sampling_of(given: TgiParameters) -> SamplingParams:
    """Translate; see `TgiParameters` for when it samples. What samples has a seed, so that it can be said."""
    known = given.sampling
    return _sampling_of(given, new_seed()) if known is None else known


def _sampling_of(given: TgiParameters, seed: int | None) -> SamplingParams:
    if given.samples and given.temperature is not None and given.temperature <= 0:
        raise ValidationError("`temperature` must be strictly positive", "parameters.temperature")
    chosen: dict[str, Any] = {"seed": seed}
    if given.samples:
        chosen = {
            "temperature": 1.0 if given.temperature is None else given.temperature,
            "top_k": given.top_k,
            "top_p": given.top_p,
            "typical_p": given.typical_p,
            "seed": seed,
        }
    return sampling(
        "parameters.",
        **chosen,
        max_new_tokens=given.max_new_tokens,
        repetition_penalty=given.repetition_penalty,
        frequency_penalty=given.frequency_penalty,
        stop=tuple(stop for stop in given.stop or () if stop),
        logprobs=given.top_n_tokens or None,
        prompt_logprobs=0 if given.decoder_input_details else None,
        grammar=None if given.grammar is None else grammar_of(given.grammar),
    )


def adapter_of(given: TgiParameters) -> str | None:
    """Return the adapter's name; one that no adapter can have is refused here, an unknown one where it is known."""
    if not given.adapter_id:
        return None
    if re.fullmatch(MODEL_NAME, given.adapter_id) is None:
        raise ValidationError(
            "`parameters.adapter_id`: this model has no adapter of that name", "parameters.adapter_id"
        )
    return given.adapter_id


def new_seed() -> int:
    return secrets.randbelow(_SEEDS)


def grammar_of(given: TgiGrammar) -> Grammar:
    """Translate.

    Raises:
        ValidationError: `value` is not what its type needs; whether the schema makes sense, only the node can say.
    """
    field = "parameters.grammar.value"
    value = given.value
    if given.type == "json_object" and value is None:
        return JsonObject()
    if given.type == "json_schema":
        field += ".schema"
        value = value.get("schema") if isinstance(value, dict) else None
    try:
        return Regex(pattern=value) if given.type == "regex" else JsonSchema(schema_text=value)
    except pydantic.ValidationError as error:
        words = error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
        raise ValidationError(f"`{field}`: {words}", field) from None
