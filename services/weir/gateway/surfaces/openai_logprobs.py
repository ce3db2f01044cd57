"""Log-probabilities in the two forms that OpenAI's APIs have."""

from collections.abc import Iterable, Sequence
from typing import Any

from weir.contracts.events import PromptToken, Token, TopToken

_BROKEN = "\ufffd"  # what part of a character decodes to: its bytes are not known here


def chat_logprobs(tokens: Iterable[Token], count: int) -> list[dict[str, Any]]:
    """Return the `content` of a chat choice's log-probabilities, with `count` alternatives each.

    Special tokens, which are no text, are left out. What a guard rule put in place of text has no alternatives.
    """
    return [
        _entry(token) | {"top_logprobs": [_entry(other) for other in token.top[:count]]}
        for token in tokens
        if not token.special
    ]


def _entry(token: Token | TopToken) -> dict[str, Any]:
    known = None if _BROKEN in token.text else list(token.text.encode())
    return {"token": token.text, "logprob": token.logprob, "bytes": known}


def completion_logprobs(tokens: Sequence[Token | PromptToken], starts: Sequence[int]) -> dict[str, Any]:
    """Return the four parallel lists of a completion's log-probabilities.

    `starts`: where in the choice's text each token begins. The first token of an echoed prompt has none (null).
    `top_logprobs` also holds the token itself, as lm-eval expects; of alternatives that look alike the likeliest.
    """
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [_tops(token) for token in tokens],
        "text_offset": list(starts),
    }


def _tops(token: Token | PromptToken) -> dict[str, float] | None:
    if token.logprob is None:
        return None
    found = {token.text: token.logprob}
    for other in token.top:
        found[other.text] = max(other.logprob, found.get(other.text, other.logprob))
    return found
