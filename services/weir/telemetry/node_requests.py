"""What becomes of each request at a node: one log line, and a span where tracing is on. Never a text."""

import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Any

from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.telemetry.gen_ai import FIRST_TOKEN, answered, asked
from weir.telemetry.logs import log_event
from weir.telemetry.tracing import Span, Tracing

_log = logging.getLogger("weir.node")
_ACTION = "text_completion"
_HARMLESS = re.compile(r"[A-Za-z0-9._-]+")  # the form of what a gateway hands on; another caller may send anything


@dataclass(slots=True)
class NodeRequests:
    """One for a process."""

    tracing: Tracing | None = None

    async def watched(
        self, request: GenerateRequest, events: AsyncGenerator[GenerationEvent, None], model: str, version: int
    ) -> AsyncGenerator[GenerationEvent, None]:
        """Yield `events`, and tell of them when they end; close it."""
        record = _Record(request, model, version, self._span(request, model))
        try:
            async with aclosing(events):
                async for event in events:
                    record.saw(event)
                    yield event
        except WeirError as error:
            record.outcome = error.code
            raise
        except Exception:
            record.outcome = "internal"
            raise
        finally:
            record.end()

    def _span(self, request: GenerateRequest, model: str) -> Span | None:
        if self.tracing is None:
            return None
        wanted = asked(request, model, _ACTION)
        return self.tracing.span(f"{_ACTION} {model}", "server", request.traceparent, attributes=wanted)


class _Record:
    """One request; `outcome` is a finish reason, an error's code, or that it was cancelled."""

    __slots__ = ("_began", "_first", "_generated", "_model", "_prompt", "_request_id", "_span", "_version", "outcome")

    def __init__(self, request: GenerateRequest, model: str, version: int, span: Span | None) -> None:
        self._request_id = request.id if _HARMLESS.fullmatch(request.id) else "(not shown)"
        self._model, self._version = model, version
        self._span = span
        self._began = monotonic()
        self._first = 0.0
        self._prompt = self._generated = 0
        self.outcome = "cancelled"

    def saw(self, event: GenerationEvent) -> None:
        if isinstance(event, Finished):
            self.outcome = event.reason.value
            self._prompt, self._generated = event.usage.prompt_tokens, event.usage.completion_tokens
            return
        self._generated += event.token_count
        self._first = self._first or monotonic()

    def end(self) -> None:
        ended = monotonic()
        line: dict[str, Any] = {
            "request_id": self._request_id,
            "model": self._model,
            "version": self._version,
            "outcome": self.outcome,
            "prompt_tokens": self._prompt,
            "generated_tokens": self._generated,
            "first_token_ms": round((self._first - self._began) * 1000, 1) if self._first else None,
            "duration_ms": round((ended - self._began) * 1000, 1),
        }
        if self._span is not None:
            line |= self._span.log_fields
            self._end_span(self._span, ended)
        log_event(_log, "request_done", line)

    def _end_span(self, span: Span, ended: float) -> None:
        is_whole = self._prompt > 0
        if self._first:
            span.note(FIRST_TOKEN, self._first)
        reason = self.outcome if is_whole else None
        span.set(answered(self._model, self._version, self._prompt, self._generated, reason))
        if not is_whole:
            span.fail(self.outcome)
        span.end(ended)
