"""Frames of OpenAI's streams: only what differs from chunk to chunk is encoded per chunk."""

from collections.abc import Sequence
from typing import Any

import orjson

from weir.contracts.events import FinishReason, Usage

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
        self._begun = orjson.dumps(envelope)[:-1]
        self._delta = delta
        self._heads: list[bytes] = []
        self._close = b'}],"usage":null}\n\n' if with_usage else b"}]}\n\n"
        self.tail = b',"logprobs":null,"finish_reason":null' + self._close

    def head(self, index: int) -> bytes:
        """Return what stands before a choice's news; `tail` stands behind it."""
        while index >= len(self._heads):
            place = b'data: %b,"choices":[{"index":%d,"%b":' % (self._begun, len(self._heads), self._delta)
            self._heads.append(place)
        return self._heads[index]

    def chunk(self, index: int, news: bytes, logprobs: Any = None) -> bytes:
        if logprobs is None:
            return self.head(index) + news + self.tail
        scores = orjson.dumps(logprobs)
        return b'%b%b,"logprobs":%b,"finish_reason":null%b' % (self.head(index), news, scores, self._close)

    def end(self, index: int, news: bytes, reason: str) -> bytes:
        return b'%b%b,"logprobs":null,"finish_reason":"%b"%b' % (self.head(index), news, reason.encode(), self._close)

    def usage(self, usage: dict[str, int]) -> bytes:
        return b'data: %b,"choices":[],"usage":%b}\n\n' % (self._begun, orjson.dumps(usage))


def usage_of(prompts: Sequence[Usage], answers: Sequence[Usage]) -> dict[str, int]:
    """Add up; a prompt with several answers counts once."""
    read = written = 0
    for usage in prompts:
        read += usage.prompt_tokens
    for usage in answers:
        written += usage.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
