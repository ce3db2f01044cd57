"""The output guard around one answer. Whatever goes wrong in a guard ends the answer: it fails closed."""

import logging
from collections.abc import Sequence
from functools import partial
from time import perf_counter

from weir.contracts.events import Finished, FinishReason, GenerationEvent, PromptToken, Token, TokenChunk, Usage
from weir.contracts.grammar import JsonObject, JsonSchema
from weir.gateway.findings import Findings, Seal
from weir.gateway.generation import Generation
from weir.gateway.streams import Events
from weir.guard.alternatives import AlternativeScreen
from weir.guard.answers import AnswerCheck
from weir.guard.decision import OnFind, Piece
from weir.guard.output import StreamGuard
from weir.guard.rules import Action
from weir.guard.structured import StructuredGuard
from weir.guard.tokens import TokenAligner
from weir.guard.verdict import GUARD_ERROR
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_INLINE_CHARS = 32_768  # more are guarded in a thread


class GuardedAnswer:
    """The guard's state for one answer; nothing is taken any more once it `is_over`.

    Where rules look at whole answers, nothing is given before the answer is whole.
    """

    def __init__(self, generation: Generation, seal: Seal | None) -> None:
        guard, request = generation.guard, generation.ask.request
        self._matcher = guard.output.matcher
        self._findings = Findings("output", self._matcher.rules, seal, generation.notes)
        self._begun: StreamGuard | StructuredGuard | None = None
        self._aligner = TokenAligner() if request.gives_tokens else None
        self._alternatives: AlternativeScreen | None = None
        self._checks = guard.answers
        self._kept: list[TokenChunk] | None = [] if any(check.holds_back for check in guard.answers) else None
        self._texts: list[str] = []  # of the whole answer, where a rule looks at it
        self._generation = generation
        self._prompt: tuple[PromptToken, ...] = ()  # not sent yet
        self._unreported_tokens = 0  # generated since the last chunk that was sent
        self._seconds = 0.0
        self._most_held = 0
        self._has_failed = False
        self.is_over = False

    def takes_long(self, event: GenerationEvent) -> bool:
        """Whether to take `event` would hold up others: do it in a thread then."""
        if isinstance(event, Finished):
            return bool(self._checks) and sum(map(len, self._texts)) > _INLINE_CHARS
        return len(event.text) > _INLINE_CHARS

    def take(self, event: GenerationEvent) -> Sequence[GenerationEvent]:
        """Return what may be sent now that `event` is known."""
        began = perf_counter()
        try:
            if self._begun is None:
                self._begin()
            return self._taken(event)
        except Exception:  # noqa: BLE001 - whatever it is, nothing more is sent
            _log.exception("output_guard_failed")
            self._has_failed = True
            self._findings.judged(GUARD_ERROR, Action.BLOCK)
            return [self._cut(GUARD_ERROR)]
        finally:
            self._seconds += perf_counter() - began

    def report(self, metrics: GatewayMetrics) -> None:
        """Count what was found; once, at the end."""
        metrics.guard_seconds("output").observe(self._seconds)
        if self._generation.span is not None:
            self._generation.span.set({"weir.guard.output_s": self._seconds, "weir.guard.most_held": self._most_held})
        metrics.guard_held.observe(self._most_held)
        self._findings.count(metrics)
        self._generation.verdicts += self._findings.found
        if self._has_failed:
            metrics.guard_errors("output").inc()
        if self._begun is not None and self._begun.num_overflows:
            metrics.guard_overflows.inc()
        if self._generation.blocked_by is not None:
            metrics.guard_stream_cut(self._generation.blocked_by).inc()

    def _begin(self) -> None:
        """Not when it is made: a failure is to end in a block."""
        # Not a function of ours: a ring of references would wait for the garbage collector, which holds up everybody.
        self._begun = _stream_of(self._generation, partial(self._findings.add, where="answer"))
        if self._generation.ask.request.sampling.logprobs:
            self._alternatives = AlternativeScreen(self._matcher)

    @property
    def _stream(self) -> StreamGuard | StructuredGuard:
        if self._begun is None:
            raise RuntimeError("nothing was taken yet")
        return self._begun

    def _taken(self, event: GenerationEvent) -> Sequence[GenerationEvent]:
        if isinstance(event, Finished):
            return self._finished(event)
        self._generation.generated_tokens += event.token_count
        self._unreported_tokens += event.token_count
        if event.prompt:
            self._prompt = AlternativeScreen(self._matcher).screened(event.prompt)
        if self._aligner is not None:
            tokens = event.tokens if self._alternatives is None else self._alternatives.screened(event.tokens)
            self._aligner.take(tokens, event.text)
        stream = self._stream
        pieces = stream.feed(event.text)
        if (held := stream.held_chars) > self._most_held:
            self._most_held = held
        if not stream.is_over:
            return self._given(self._chunks(pieces, is_last=False))
        return self._ended_by_a_rule(self._chunks(pieces, is_last=True))

    def _finished(self, event: Finished) -> Sequence[GenerationEvent]:
        chunks = self._chunks(self._stream.flush(), is_last=True)
        if self._stream.is_over:
            return self._ended_by_a_rule(chunks)
        prompt_tokens = event.usage.prompt_tokens or self._generation.prompt_tokens
        if not self._generation.is_counted:
            self._generation.prompt_tokens, self._generation.is_counted = prompt_tokens, True
        return self._judged(chunks, Finished(event.reason, Usage(prompt_tokens, event.usage.completion_tokens)))

    def _ended_by_a_rule(self, chunks: list[TokenChunk]) -> Sequence[GenerationEvent]:
        """The node's work ends here; what a fallback leaves is judged as any answer is."""
        if self._stream.blocked_by is not None:
            return [*self._given(chunks), self._cut(self._stream.blocked_by)]
        return self._judged(chunks, Finished(FinishReason.STOP, self._usage))

    def _given(self, chunks: list[TokenChunk]) -> list[TokenChunk]:
        """Return what goes on at once: nothing, while the answer is kept."""
        if self._checks:
            self._texts += [chunk.text for chunk in chunks]
        if self._kept is None:
            return chunks
        self._kept += chunks
        return []

    def _judged(self, chunks: list[TokenChunk], finished: Finished) -> Sequence[GenerationEvent]:
        """Return the end of an answer, or what a rule about the whole of it puts in its place."""
        given = self._given(chunks)
        self.is_over = True
        broken = self._broken()
        if broken is None:
            return [*(self._kept or given), finished]
        if broken.rule.action is Action.BLOCK:
            return [self._cut(broken.rule.id)]
        text = broken.rule.replacement
        tokens = () if self._aligner is None else (Token(0, text, 0.0),)
        return [TokenChunk(text, 0, tokens), Finished(FinishReason.STOP, self._usage)]

    def _broken(self) -> AnswerCheck | None:
        """Return the first rule that the whole answer does not keep to, and that does not only flag."""
        text = "".join(self._texts)
        for check in self._checks:
            if not check.is_kept(text):
                self._findings.judged(check.rule.id, check.rule.action)
                if check.holds_back:
                    return check
        return None

    def _chunks(self, pieces: Sequence[Piece], *, is_last: bool) -> list[TokenChunk]:
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

    @property
    def _usage(self) -> Usage:
        return Usage(self._generation.prompt_tokens, self._generation.generated_tokens)

    def _cut(self, rule: str) -> Finished:
        self.is_over = True
        self._generation.blocked_by = rule
        return Finished(FinishReason.FILTERED, self._usage)


def _stream_of(generation: Generation, on_find: OnFind) -> StreamGuard | StructuredGuard:
    """Return the guard of the answer's text: one that reads JSON where JSON is asked for."""
    guard, request = generation.guard.output, generation.ask.request
    use, form = request.tool_use, generation.model.prompts.tool_format
    is_json = isinstance(request.sampling.grammar, JsonObject | JsonSchema)
    if use is None or form is None:
        if not is_json:
            return guard.stream(on_find)
        return StructuredGuard(guard, opening=None, begins_inside=True, on_find=on_find)
    begins_inside = is_json or use.must_call
    return StructuredGuard(guard, opening=form.opening, begins_inside=begins_inside, on_find=on_find)


async def said(generation: Generation) -> Events:
    """Yield the answer that an input rule gives in the model's place."""
    text = generation.fallback or ""
    tokens = (Token(0, text, 0.0),) if generation.ask.request.gives_tokens else ()
    yield TokenChunk(text, 0, tokens)
    yield Finished(FinishReason.STOP, Usage(generation.prompt_tokens, 0))
