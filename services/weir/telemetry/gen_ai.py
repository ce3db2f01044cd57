"""OpenTelemetry's GenAI conventions: what a span says of a generation. Never a text: no prompt, answer or stop string.

Names of https://opentelemetry.io/docs/specs/semconv/gen-ai/ (development status, 2026); what is ours begins `weir.`.
"""

from typing import Final

from weir.contracts.request import GenerateRequest
from weir.telemetry.tracing import Attributes

PROVIDER: Final = "weir"
FIRST_TOKEN: Final = "first_token"  # noqa: S105  an event's name


def operation(request: GenerateRequest) -> str:
    return "chat" if request.messages else "text_completion"


def asked(request: GenerateRequest, model: str, action: str) -> Attributes:
    """Return what is wanted. `model` is one that is served, never a caller's word for it."""
    sampling = request.sampling
    wanted: dict[str, str | int | float] = {
        "gen_ai.operation.name": action,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "weir.request_id": request.id,
    }
    if sampling.top_k:
        wanted["gen_ai.request.top_k"] = sampling.top_k
    if sampling.max_new_tokens is not None:
        wanted["gen_ai.request.max_tokens"] = sampling.max_new_tokens
    if sampling.frequency_penalty:
        wanted["gen_ai.request.frequency_penalty"] = sampling.frequency_penalty
    if sampling.presence_penalty:
        wanted["gen_ai.request.presence_penalty"] = sampling.presence_penalty
    return wanted


def answered(model: str, version: int, prompt_tokens: int, generated_tokens: int, reason: str | None) -> Attributes:
    """Return what came of it; `reason` is none when there was no end."""
    came: dict[str, str | int | list[str]] = {
        "gen_ai.response.model": model,
        "gen_ai.usage.input_tokens": prompt_tokens,
        "gen_ai.usage.output_tokens": generated_tokens,
        "weir.model_version": version,
    }
    if reason is not None:
        came["gen_ai.response.finish_reasons"] = [reason]
    return came
