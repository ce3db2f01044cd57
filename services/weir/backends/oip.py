"""What a node is asked: the generate extension of the Open Inference Protocol, in names of Triton's vLLM backend."""

from typing import Any, Final

import orjson

from weir.contracts.grammar import Grammar, JsonObject, JsonSchema, OneOf, Regex
from weir.contracts.request import GenerateRequest, SamplingParams

_THEIRS: Final = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens"}
_ALWAYS: Final = (
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "seed",
    "stop",
    "ignore_eos",
)
_MOST_KNOWN: Final = 256
_OWN_FORM: Final = frozenset({"logit_bias", "grammar"})
# Of the newer fields only what was set is sent: a node that knows none of them still answers.
_IF_SET: Final = tuple(
    (name, _THEIRS.get(name, name), field.default)
    for name, field in SamplingParams.model_fields.items()
    if name not in _ALWAYS and name not in _OWN_FORM
)


def sampling_parameters(sampling: SamplingParams) -> dict[str, Any]:
    """Return them in vLLM's names."""
    parameters: dict[str, Any] = {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "repetition_penalty": sampling.repetition_penalty,
        "stop": sampling.stop,
        "ignore_eos": sampling.ignore_eos,
    }
    if sampling.seed is not None:
        parameters["seed"] = sampling.seed
    for name, theirs, default in _IF_SET:
        value = getattr(sampling, name)
        if value != default:
            parameters[theirs] = value
    if sampling.logit_bias:
        parameters["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    if sampling.grammar is not None:
        parameters["structured_outputs"] = _structured_outputs(sampling.grammar)
    return parameters


class SamplingText:
    """Writes sampling parameters as JSON. Surfaces give equal ones as one object: that is written once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[SamplingParams, bytes]] = {}  # by `id`, which stays theirs while they are kept

    def of(self, sampling: SamplingParams) -> bytes:
        known = self._known.get(id(sampling))
        if known is not None:
            return known[1]
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        text = orjson.dumps(sampling_parameters(sampling))
        self._known[id(sampling)] = sampling, text
        return text


def extensions(request: GenerateRequest) -> dict[str, Any]:
    """Return what is beyond a prompt and its sampling; only what was set."""
    given: dict[str, Any] = {}
    if request.priority:
        given["priority"] = request.priority
    if request.deadline_s is not None:
        given["deadline_s"] = request.deadline_s
    if request.cache_salt is not None:
        given["cache_salt"] = request.cache_salt
    if request.adapter:
        given["lora_name"] = request.adapter
    if request.prompt_ids:
        given["prompt_token_ids"] = request.prompt_ids
    return given


def _structured_outputs(grammar: Grammar) -> dict[str, Any]:
    match grammar:
        case JsonSchema(schema_text=text):
            return {"json": text}
        case JsonObject():
            return {"json_object": True}
        case Regex(pattern=pattern):
            return {"regex": pattern}
        case OneOf(choices=choices):
            return {"choice": choices}
