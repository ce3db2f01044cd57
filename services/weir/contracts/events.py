"""What a backend says back, one event at a time.

A stream is zero or more `TokenChunk`s, then exactly one `Finished`. Failures are
exceptions (`weir.contracts.errors`) until a surface frames them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class FinishReason(StrEnum):
    """Why a generation ended; a closed set, so it may label metrics."""

    EOS = "eos_token"
    STOP = "stop_sequence"
    LENGTH = "length"
    FILTERED = "content_filter"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class TopToken:
    """A token that could have stood in a place, and its log-probability there. `text` is its own, decoded alone."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. `text` is what it added to the visible text (may be empty mid-character).

    `top` holds the likeliest tokens of its place, likeliest first, as many as `SamplingParams.logprobs` asks for.
    Log-probabilities are natural and under the model's own logits: before temperature, penalties, bias and grammar.
    """

    id: int
    text: str
    logprob: float
    special: bool = False
    top: tuple[TopToken, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One token of the prompt. Nothing precedes the first one, so it has no log-probability."""

    id: int
    text: str
    logprob: float | None
    top: tuple[TopToken, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """What one engine step (or several) added. `text` never ends inside a UTF-8 character.

    `tokens` is filled when the request asked for them (`GenerateRequest.gives_tokens`). `prompt` stands in the first
    chunk only, whole, when the request asked for `prompt_logprobs`.
    """

    text: str
    token_count: int = 1
    tokens: tuple[Token, ...] = ()
    prompt: tuple[PromptToken, ...] = ()
    type: Literal["token"] = "token"


@dataclass(frozen=True, slots=True)
class Finished:
    """Always the last event, and exactly once."""

    reason: FinishReason
    usage: Usage
    type: Literal["finished"] = "finished"


GenerationEvent = TokenChunk | Finished
