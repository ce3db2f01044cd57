"""NeMo Guardrails' rolling buffer as its streaming output rails use it, with `stream_first` off: check, then send.

Each batch's context is searched by the patterns and terms; a find ends the stream, as a blocking rail does.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

from nemoguardrails.rails.llm.buffer import RollingBuffer

from weir_training.benching.workers.guard_timing import Guard, serve_guard

_CHUNK, _CONTEXT = 200, 50  # its defaults


class Nemo:
    def __init__(self, terms: Sequence[str], patterns: Sequence[str]) -> None:
        self._terms = list(terms)
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._loop = asyncio.new_event_loop()

    def check(self, text: str) -> str:
        return "" if self._is_found(text) else text

    def _is_found(self, text: str) -> bool:
        return any(term in text for term in self._terms) or any(one.search(text) for one in self._patterns)

    def stream(self, pieces: Iterable[str]) -> Iterator[tuple[str, float, float]]:
        return iter(self._loop.run_until_complete(self._streamed(list(pieces))))

    async def _streamed(self, pieces: list[str]) -> list[tuple[str, float, float]]:
        fed = 0
        out = [""] * (len(pieces) + 1)
        took = [(0.0, 0.0)] * (len(pieces) + 1)

        async def chunks() -> AsyncIterator[str]:
            nonlocal fed
            for piece in pieces:
                began, used = time.perf_counter(), time.thread_time()
                yield piece
                took[fed] = (time.perf_counter() - began, time.thread_time() - used)
                fed += 1

        buffer = RollingBuffer(buffer_context_size=_CONTEXT, buffer_chunk_size=_CHUNK)
        async for batch in buffer(chunks()):
            if self._is_found(buffer.format_chunks(batch.processing_context)):
                break
            out[fed] += buffer.format_chunks(batch.user_output_chunks)
        return [(text, *times) for text, times in zip(out, took, strict=True)]


def build(terms: Sequence[str], patterns: Sequence[str]) -> Guard:
    return Nemo(terms, patterns)


if __name__ == "__main__":
    serve_guard(build)
