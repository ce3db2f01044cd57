"""The bodies of OpenAI's chat completions API."""

from typing import Any, Literal

from pydantic import Field

from weir.contracts.errors import ValidationError
from weir.contracts.request import Message, SamplingParams
from weir.gateway.refusals import UnsupportedError
from weir.gateway.surfaces.base import Wire, sampling

_MAX_STOPS = 16


class ContentPart(Wire):
    type: str
    text: str | None = None


class ChatMessage(Wire):
    """`developer` is read as `system`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[Any] | None = None


class StreamOptions(Wire):
    include_usage: bool | None = None


class ResponseFormat(Wire):
    type: str = "text"


class ChatBody(Wire):
    """Every field but `messages` may be null or left out. Without a temperature decoding is greedy."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=1024)
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_format: ResponseFormat | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None


def check(body: ChatBody) -> None:
    """Refuse what would otherwise be ignored without a word.

    Raises:
        UnsupportedError: a feature that Weir does not have yet.
    """
    asked_for = {
        "n": (body.n or 1) != 1,
        "logprobs": body.logprobs,
        "top_logprobs": body.top_logprobs,
        "logit_bias": body.logit_bias,
        "frequency_penalty": body.frequency_penalty,
        "presence_penalty": body.presence_penalty,
        "response_format": body.response_format is not None and body.response_format.type != "text",
        "tools": body.tools,
        "functions": body.functions,
    }
    for name, value in asked_for.items():
        if value:
            raise UnsupportedError(name)


def messages_of(body: ChatBody) -> tuple[Message, ...]:
    """Translate messages; text parts are joined as they are.

    Raises:
        UnsupportedError: a part that is not text, or tool calls.
    """
    return tuple(_message(number, message) for number, message in enumerate(body.messages))


def sampling_of(body: ChatBody) -> SamplingParams:
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(stops) > _MAX_STOPS:
        raise ValidationError(f"`stop` supports up to {_MAX_STOPS} stop sequences. Given: {len(stops)}", "stop")
    asked = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    named = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    return sampling(
        renamed={"max_new_tokens": named},
        max_new_tokens=asked,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=max(body.top_k, 0) if body.top_k is not None else None,  # vLLM's -1 means all as well
        repetition_penalty=body.repetition_penalty,
        seed=body.seed,
        stop=tuple(stop for stop in stops if stop),
        ignore_eos=body.ignore_eos,
    )


def _message(number: int, message: ChatMessage) -> Message:
    if message.tool_calls:
        raise UnsupportedError(f"messages.{number}.tool_calls")
    role = "system" if message.role == "developer" else message.role
    if isinstance(message.content, list):
        content = "".join(_text(number, part) for part in message.content)
    else:
        content = message.content or ""
    return Message(role=role, content=content)


def _text(number: int, part: ContentPart) -> str:
    if part.type != "text":
        raise UnsupportedError(f"messages.{number}.content", "only content parts of type `text` are supported yet")
    return part.text or ""
