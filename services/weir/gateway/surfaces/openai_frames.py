"""Frames of OpenAI's streams: only what differs from chunk to chunk is encoded per chunk."""

from typing import Any

import orjson

from weir.contracts.events import FinishReason, Usage
from weir.gateway.streams import Collected

DONE = b"data: [DONE]\n\n"
REASONS = {
    FinishReason.EOS: "stop",
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.FILTERED: "content_filter",
}


class Frames:
    """One stream's frames. `envelope` is what all chunks have, `choices` excluded."""

    def __init__(self, envelope: dict[str, Any], *, delta: bytes, with_usage: bool) -> None:
        """`delta`: the field of a choice that holds its news, `delta` or `text`."""
        begun = orjson.dumps(envelope)[:-1]
        self._begun = begun
        self._delta = b',"%b":' % delta
        self._head = b'data: %b,"choices":[{"index":' % begun
        self._tail = b'}],"usage":null}\n\n' if with_usage else b"}]}\n\n"
        self._plain_tail = b',"logprobs":null,"finish_reason":null' + self._tail
        self._heads = [self._head_of(0)]

    def _head_of(self, index: int) -> bytes:
        return b"%b%d%b" % (self._head, index, self._delta)

    def head(self, index: int) -> bytes:
        while index >= len(self._heads):
            self._heads.append(self._head_of(len(self._heads)))
        return self._heads[index]

    def chunk(self, index: int, delta: bytes, logprobs: Any = None) -> bytes:
        if logprobs is None:
            return self.head(index) + delta + self._plain_tail
        return b'%b%b,"logprobs":%b,"finish_reason":null%b' % (
            self.head(index),
            delta,
            orjson.dumps(logprobs),
            self._tail,
        )

    def end(self, index: int, delta: bytes, reason: str) -> bytes:
        return b'%b%b,"logprobs":null,"finish_reason":"%b"%b' % (self.head(index), delta, reason.encode(), self._tail)

    def usage(self, usage: dict[str, int]) -> bytes:
        return b'data: %b,"choices":[],"usage":%b}\n\n' % (self._begun, orjson.dumps(usage))


def usage_of(prompts: list[Usage], answers: list[Usage]) -> dict[str, int]:
    """Add up; a prompt with several answers counts once."""
    prompt_tokens = sum(usage.prompt_tokens for usage in prompts)
    completion_tokens = sum(usage.completion_tokens for usage in answers)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def likelihood(answer: Collected) -> float:
    """Return an answer's mean log-probability per token; the more likely one is the better."""
    return sum(token.logprob for token in answer.tokens) / max(len(answer.tokens), 1)
