"""The optional second tier: a classifier reads what the rules let through, while the request is on its way.

`flag` takes note and never waits. `block` holds the first token back until the verdict is there, within a budget; when
there is none, the prompt is refused as in any guard that failed, unless it is set to pass.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, NamedTuple

from weir.backends.classifier import Classifier
from weir.contracts.errors import BackendTimeoutError, BackendUnavailableError, OverloadedError, PromptBlockedError
from weir.contracts.request import GenerateRequest
from weir.gateway.findings import MAX_NOTES, Note, Seal
from weir.gateway.generation import Accounted
from weir.gateway.settings_tier import SecondTierSettings
from weir.guard.rules import Action
from weir.guard.verdict import GUARD_ERROR
from weir.oip.infer import MAX_TEXTS, Scored
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
RULE: Final = "second-tier"
_MAX_AT_ONCE: Final = 256  # questions to the classifier; more would wait there for longer than a budget
_PHASE: Final = "input"
_FROM_OUTSIDE: Final = frozenset({"user", "tool"})  # a system prompt gives orders because it is meant to


class Passage(NamedTuple):
    """A text that the classifier reads, and where it stands in the request."""

    where: str
    text: str


class SecondTier:
    """Asks one classifier about every prompt."""

    def __init__(
        self, classifier: Classifier, settings: SecondTierSettings, metrics: GatewayMetrics, seal: Seal | None = None
    ) -> None:
        self._classifier = classifier
        self._settings = settings
        self._metrics = metrics
        self._seal = seal
        self._running: set[asyncio.Task[str | None]] = set()

    def begin(self, generation: Accounted) -> None:
        """Ask about a prompt that the rules have let through; its answer waits for `generation.screening`, or not."""
        passages = () if generation.filtered is None else passages_of(generation.filtered)
        if not passages:
            return
        is_busy = len(self._running) >= _MAX_AT_ONCE
        task = asyncio.create_task(self._refusing_rule(generation, passages, is_busy=is_busy))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        generation.screening = _Screening(task, self._metrics, waits=self._settings.action == "block")

    async def aclose(self) -> None:
        """Give up what still runs."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._classifier.aclose()

    async def _refusing_rule(self, generation: Accounted, passages: Sequence[Passage], *, is_busy: bool) -> str | None:
        """Return the id of the rule that refuses the prompt, if one does. Fails only when cancelled."""
        began, outcome = monotonic(), "cancelled"
        try:
            scored = await self._scored(passages, is_busy=is_busy)
            rule = self._noted(generation, passages, scored)
            outcome = "scored"
        except Exception as error:  # noqa: BLE001 - whatever it is, the setting says what follows
            outcome = _outcome(error)
            rule = self._without_verdict(generation, outcome)
        finally:
            self._metrics.second_tier(outcome).inc()
            self._metrics.second_tier_seconds.observe(monotonic() - began)
            if generation.span is not None:
                generation.span.part("guard classifier", began, monotonic(), {"weir.outcome": outcome})
        return rule

    async def _scored(self, passages: Sequence[Passage], *, is_busy: bool) -> Scored:
        if is_busy:
            raise OverloadedError(1.0)
        budget_s = self._settings.budget_s
        async with asyncio.timeout(budget_s):
            return await self._classifier.scored([passage.text for passage in passages], timeout_s=budget_s)

    def _noted(self, generation: Accounted, passages: Sequence[Passage], scored: Scored) -> str | None:
        least = scored.threshold if self._settings.threshold is None else self._settings.threshold
        self._metrics.second_tier_score.observe(max(scored.scores))
        found = [(passage, score) for passage, score in zip(passages, scored.scores, strict=True) if score >= least]
        action = Action(self._settings.action) if found else Action.ALLOW
        self._metrics.guard_verdicts(_PHASE, RULE, action).inc()
        if not found:
            return None
        generation.verdicts.append(RULE)
        if self._seal is not None:
            generation.notes += _notes(found[:MAX_NOTES], action, self._seal)
        return RULE if action is Action.BLOCK else None

    def _without_verdict(self, generation: Accounted, outcome: str) -> str | None:
        self._metrics.guard_errors("second-tier").inc()
        _log.warning("second_tier_failed", extra={"outcome": outcome, "request_id": generation.ask.context.id})
        if self._settings.action == "flag" or self._settings.fail_open:
            return None
        self._metrics.guard_verdicts(_PHASE, GUARD_ERROR, Action.BLOCK).inc()
        generation.verdicts.append(GUARD_ERROR)
        return GUARD_ERROR


@dataclass(frozen=True, slots=True)
class _Screening:
    """One prompt at the classifier."""

    task: asyncio.Task[str | None]
    metrics: GatewayMetrics
    waits: bool

    @property
    def is_settled(self) -> bool:
        return self.task.done()

    async def cleared(self) -> None:
        if not self.waits:
            return
        began = monotonic()
        await asyncio.wait([self.task])
        self.metrics.second_tier_wait.observe(monotonic() - began)
        rule = GUARD_ERROR if self.task.cancelled() else self.task.result()
        if rule is not None:
            raise PromptBlockedError(rule)


def passages_of(request: GenerateRequest) -> tuple[Passage, ...]:
    """Return what came from outside, as the rules left it; surplus ones, the oldest, are read as one text."""
    found = tuple(_each(request))
    if len(found) <= MAX_TEXTS:
        return found
    surplus = len(found) - MAX_TEXTS + 1
    oldest = Passage(found[0].where, "\n".join(passage.text for passage in found[:surplus]))
    return (oldest, *found[surplus:])


def _each(request: GenerateRequest) -> Iterator[Passage]:
    if request.prompt:
        yield Passage("prompt", request.prompt)
    for number, message in enumerate(request.messages):
        if message.role in _FROM_OUTSIDE and message.content:
            yield Passage(f"messages.{number}.content", message.content)


def _notes(found: Sequence[tuple[Passage, float]], action: Action, seal: Seal) -> Iterator[Note]:
    """`view` holds the tenth that the score lies in."""
    for passage, score in found:
        tenth = min(9, int(score * 10))
        view = f"score {tenth / 10:.1f}-{(tenth + 1) / 10:.1f}"
        yield Note(RULE, action, _PHASE, passage.where, 0, len(passage.text), view, seal(passage.text))


def _outcome(error: Exception) -> str:
    match error:
        case TimeoutError() | BackendTimeoutError():
            return "timeout"
        case OverloadedError():
            return "overloaded"
        case BackendUnavailableError():
            return "unavailable"
        case _:
            return "error"
