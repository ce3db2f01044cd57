"""The bodies of text-generation-inference (TGI 3.3): https://github.com/huggingface/text-generation-inference."""

from typing import Any

from pydantic import Field

from weir.contracts.errors import ValidationError
from weir.contracts.request import SamplingParams
from weir.gateway.refusals import UnsupportedError
from weir.gateway.surfaces.base import Wire, sampling

_MAX_STOPS = 16


class TgiParameters(Wire):
    """Every field may be null, which is the same as leaving it out.

    Sampling: with `do_sample: false`, temperature, top_k and top_p are ignored and decoding is greedy. Otherwise it
    samples when `do_sample: true` or a temperature is given, and is greedy when neither is: an answer that was trained
    is the answer that is given. `typical_p` is accepted and has no effect.
    """

    adapter_id: str | None = None
    best_of: int | None = None
    decoder_input_details: bool | None = None
    details: bool | None = None
    do_sample: bool | None = None
    frequency_penalty: float | None = None
    grammar: Any | None = None
    max_new_tokens: int | None = None
    repetition_penalty: float | None = None
    return_full_text: bool | None = None
    seed: int | None = None
    stop: list[str] | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_n_tokens: int | None = None
    top_p: float | None = None
    truncate: int | None = Field(default=None, description="keep so many last tokens of `inputs`")
    typical_p: float | None = None
    watermark: bool | None = None


class TgiBody(Wire):
    """`stream` is honoured on `/` and `/generate`; `/generate_stream` always streams."""

    inputs: str
    parameters: TgiParameters | None = None
    stream: bool | None = None


def check(body: TgiBody) -> None:
    """Refuse what would otherwise be ignored without a word.

    Raises:
        ValidationError: `inputs` is empty, or a bound of TGI is broken.
        UnsupportedError: a feature that Weir does not have.
    """
    if not body.inputs:
        raise ValidationError("`inputs` cannot be empty", "inputs")
    given = body.parameters or TgiParameters()
    asked_for = {
        "adapter_id": given.adapter_id,
        "best_of": (given.best_of or 1) != 1,
        "decoder_input_details": given.decoder_input_details,
        "frequency_penalty": given.frequency_penalty,
        "grammar": given.grammar,
        "top_n_tokens": given.top_n_tokens,
        "watermark": given.watermark,
    }
    for name, value in asked_for.items():
        if value:
            raise UnsupportedError(f"parameters.{name}")
    if len(given.stop or ()) > _MAX_STOPS:
        message = f"`stop` supports up to {_MAX_STOPS} stop sequences. Given: {len(given.stop or ())}"
        raise ValidationError(message, "parameters.stop")
    if given.truncate is not None and given.truncate < 1:
        raise ValidationError("`truncate` must be strictly positive", "parameters.truncate")


def sampling_of(given: TgiParameters) -> SamplingParams:
    """Translate; see `TgiParameters` for when it samples."""
    samples = given.do_sample is True or (given.do_sample is None and given.temperature is not None)
    if samples and given.temperature is not None and given.temperature <= 0:
        raise ValidationError("`temperature` must be strictly positive", "parameters.temperature")
    chosen: dict[str, Any] = {}
    if samples:
        temperature = 1.0 if given.temperature is None else given.temperature
        chosen = {"temperature": temperature, "top_k": given.top_k, "top_p": given.top_p}
    return sampling(
        "parameters.",
        **chosen,
        max_new_tokens=given.max_new_tokens,
        repetition_penalty=given.repetition_penalty,
        seed=given.seed,
        stop=tuple(stop for stop in given.stop or () if stop),
    )
