"""LiteLLM's content filter: blocked words and patterns, masking; its streaming hook on the proxy's chunk objects."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth
from litellm.proxy.guardrails.guardrail_hooks.litellm_content_filter.content_filter import ContentFilterGuardrail
from litellm.types.guardrails import BlockedWord, ContentFilterAction, ContentFilterPattern
from litellm.types.utils import Delta, ModelResponseStream, StreamingChoices

from weir_training.benching.workers.guard_timing import Guard, serve_guard


class LiteLlm:
    def __init__(self, terms: Sequence[str], patterns: Sequence[str]) -> None:
        mask = ContentFilterAction.MASK
        self._filter = ContentFilterGuardrail(
            guardrail_name="bench",
            blocked_words=[BlockedWord(keyword=term, action=mask) for term in terms],
            patterns=[
                ContentFilterPattern(pattern_type="regex", pattern=pattern, name=f"p{number}", action=mask)
                for number, pattern in enumerate(patterns)
            ],
        )
        self._loop = asyncio.new_event_loop()

    def check(self, text: str) -> str:
        inputs = {"texts": [text]}
        answer = self._loop.run_until_complete(self._filter.apply_guardrail(inputs, {"metadata": {}}, "request"))
        return str(answer["texts"][0])

    def stream(self, pieces: Iterable[str]) -> Iterator[tuple[str, float, float]]:
        return iter(self._loop.run_until_complete(self._streamed(list(pieces))))

    async def _streamed(self, pieces: list[str]) -> list[tuple[str, float, float]]:
        """Time from giving out a chunk to being asked for the next, less nothing: who reads does no work."""
        took: list[tuple[float, float]] = []
        texts: list[str] = []

        async def chunks() -> AsyncIterator[ModelResponseStream]:
            for piece in [*pieces, None]:
                began, used = time.perf_counter(), time.thread_time()
                yield _chunk(piece)
                took.append((time.perf_counter() - began, time.thread_time() - used))

        try:
            hook = self._filter.async_post_call_streaming_iterator_hook(UserAPIKeyAuth(), chunks(), {"metadata": {}})
            texts = [item.choices[0].delta.content or "" async for item in hook]
        except HTTPException:
            pass
        texts += [""] * (len(pieces) + 1 - len(texts))
        took += [(0.0, 0.0)] * (len(pieces) + 1 - len(took))
        return [(text, *times) for text, times in zip(texts, took, strict=True)]


def _chunk(piece: str | None) -> Any:
    choice = StreamingChoices(
        index=0, delta=Delta(content=piece or ""), finish_reason="stop" if piece is None else None
    )
    return ModelResponseStream(id="bench", created=0, model="bench", choices=[choice])


def build(terms: Sequence[str], patterns: Sequence[str]) -> Guard:
    return LiteLlm(terms, patterns)


if __name__ == "__main__":
    serve_guard(build)
