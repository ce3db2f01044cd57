"""The output guard around one answer. Whatever goes wrong in a guard ends the answer: it fails closed."""

import logging
from collections.abc import Sequence
from time import perf_counter

from weir.contracts.events import Finished, FinishReason, GenerationEvent, PromptToken, Token, TokenChunk, Usage
from weir.gateway.generation import Generation
from weir.guard.alternatives import AlternativeScreen
from weir.guard.output import OutputGuard, Piece
from weir.guard.policy import Action
from weir.guard.tokens import TokenAligner
from weir.guard.verdict import GUARD_ERROR
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)


class GuardedAnswer:
    """The guard's state for one answer; nothing is taken any more once it `is_over`."""

    def __init__(self, guard: OutputGuard, generation: Generation) -> None:
        self._guard = guard
        self._stream = guard.stream()
        self._aligner = TokenAligner() if generation.ask.request.gives_tokens else None
        self._alternatives = AlternativeScreen(guard.matcher) if generation.ask.request.sampling.logprobs else None
        self._generation = generation
        self._prompt: tuple[PromptToken, ...] = ()  # not sent yet
        self._unreported_tokens = 0  # generated since the last chunk that was sent
        self._seconds = 0.0
        self._most_held = 0
        self._has_failed = False
        self.is_over = False

    def take(self, event: GenerationEvent) -> Sequence[GenerationEvent]:
        """Return what may be sent now that `event` is known."""
        began = perf_counter()
        try:
            return self._taken(event)
        except Exception:  # noqa: BLE001 - whatever it is, nothing more is sent
            _log.exception("output_guard_failed")
            self._has_failed = True
            return [self._cut(GUARD_ERROR)]
        finally:
            self._seconds += perf_counter() - began

    def report(self, metrics: GatewayMetrics) -> None:
        """Count what was found; once, at the end."""
        metrics.guard_seconds("output").observe(self._seconds)
        metrics.guard_held.observe(self._most_held)
        if self._stream.found:
            self._generation.verdicts += self._stream.found
            actions = {rule.id: rule.does for rule in self._guard.matcher.rules}
            for rule in self._stream.found:
                metrics.guard_verdicts("output", rule, actions[rule]).inc()
        if self._has_failed:
            metrics.guard_verdicts("output", GUARD_ERROR, "error").inc()
        elif not self._stream.found:
            metrics.guard_verdicts("output", "none", Action.ALLOW).inc()
        if self._generation.blocked_by is not None:
            metrics.guard_stream_cut(self._generation.blocked_by).inc()

    def _taken(self, event: GenerationEvent) -> Sequence[GenerationEvent]:
        if isinstance(event, Finished):
            return self._finished(event)
        self._generation.generated_tokens += event.token_count
        self._unreported_tokens += event.token_count
        if event.prompt:
            self._prompt = AlternativeScreen(self._guard.matcher).screened(event.prompt)
        if self._aligner is not None:
            tokens = event.tokens if self._alternatives is None else self._alternatives.screened(event.tokens)
            self._aligner.take(tokens, event.text)
        pieces = self._stream.feed(event.text)
        self._most_held = max(self._most_held, self._stream.held_chars)
        if self._stream.blocked_by is not None:
            return [*self._chunks(pieces, is_last=True), self._cut(self._stream.blocked_by)]
        return self._chunks(pieces, is_last=False)

    def _finished(self, event: Finished) -> Sequence[GenerationEvent]:
        chunks = self._chunks(self._stream.flush(), is_last=True)
        if self._stream.blocked_by is not None:
            return [*chunks, self._cut(self._stream.blocked_by)]
        self.is_over = True
        prompt_tokens = event.usage.prompt_tokens or self._generation.prompt_tokens
        if not self._generation.is_counted:
            self._generation.prompt_tokens, self._generation.is_counted = prompt_tokens, True
        return [*chunks, Finished(event.reason, Usage(prompt_tokens, event.usage.completion_tokens))]

    def _chunks(self, pieces: Sequence[Piece], *, is_last: bool) -> list[GenerationEvent]:
        tokens: list[Token] = []
        if self._aligner is None:
            text = "".join(piece.text for piece in pieces)
        else:
            tokens = self._aligner.give(pieces)
            if is_last:
                tokens += self._aligner.rest()
            text = "".join(token.text for token in tokens if not token.special)
        if not text and not tokens and not self._prompt:
            return []
        count, self._unreported_tokens = self._unreported_tokens, 0
        prompt, self._prompt = self._prompt, ()
        return [TokenChunk(text, count, tuple(tokens), prompt)]

    def _cut(self, rule: str) -> Finished:
        self.is_over = True
        self._generation.blocked_by = rule
        usage = Usage(self._generation.prompt_tokens, self._generation.generated_tokens)
        return Finished(FinishReason.FILTERED, usage)
