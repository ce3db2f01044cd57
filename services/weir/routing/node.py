"""One node as the router sees it: a backend, what it says of itself, and the policy's member that stands for it."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from time import monotonic
from typing import Final, Self

from weir.backends.base import Answer, Backend
from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    OverloadedError,
)
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.routing.policy.breaker import Circuit
from weir.routing.policy.fleet import Fleet
from weir.routing.policy.member import KindKey, Member
from weir.routing.policy.ticket import Ticket
from weir.routing.release import Offer
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_FRESH_PROBE_S = 0.1
_MOST_SILENCES = 2  # probes in a row
_CANARY_S: Final = 2.0
_CANARY: Final = GenerateRequest(id="canary", prompt="1", sampling=SamplingParams(max_new_tokens=1))


class Node:
    """`pool` is what metrics call the kind of machine, e.g. `cpu`; `flavour`: what it runs, when it does not say.

    A router has to `join` it before anything is asked of it.
    """

    member: Member
    offer: Offer
    others: Sequence[Offer] = ()
    _fleet: Fleet

    def __init__(
        self, backend: Backend, metrics: GatewayMetrics, *, pool: str = "cpu", flavour: str | None = None
    ) -> None:
        self.backend = backend
        self.pool = pool
        self._flavour = flavour
        self._metrics = metrics
        self._probed_at = float("-inf")
        self._probing: asyncio.Task[bool] | None = None
        self._silences = 0
        self._shown: tuple[bool, Circuit] | None = None

    def join(self, fleet: Fleet, offer: Offer, others: Sequence[Offer] = ()) -> None:
        """Become a member of a fleet; `offer` is the release that nodes are meant to serve, `others` are more."""
        self._fleet, self.offer, self.others = fleet, offer, others
        self.member = fleet.add(self.name, self._key)

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def in_flight(self) -> int:
        return self.member.in_flight

    @property
    def is_healthy(self) -> bool:
        return self.member.is_up

    @property
    def is_available(self) -> bool:
        return self.member.is_open

    @property
    def models(self) -> list[str]:
        """What it serves, as far as it says."""
        return [offer.model for offer in (self.offer, *self.others) if self._served(offer) is not None]

    @property
    def flavour(self) -> str:
        """What the node runs; empty: nobody knows, or it serves other models alone."""
        return self._served(self.offer) or ""

    def flavour_of(self, model: str | None) -> str:
        """As `flavour`, of the release of a model."""
        offer = next((offer for offer in self.others if offer.model == model), None)
        return self.flavour if offer is None else self._served(offer) or ""

    def _served(self, offer: Offer) -> str | None:
        """Return the flavour of a release; none: it says that it does not serve it."""
        if offer is self.offer:
            report = self.backend.report
            return self._named(offer, report.flavour) if report.serves_first else None
        others = self.backend.report.others
        if others is not None and offer.model not in others:
            return None
        return self._named(offer, None if others is None else others[offer.model])

    def _named(self, offer: Offer, said: str | None) -> str:
        said = said if self._flavour is None else self._flavour
        return offer.usual_flavour if said == "" else said or ""

    @property
    def version(self) -> int:
        """Return the version that answered last; the one that is meant, when the node does not tell."""
        return self.backend.report.version or self.offer.version

    def version_of(self, model: str | None) -> int:
        """As `version`, of a model."""
        offer = next((offer for offer in self.others if offer.model == model), None)
        return self.version if offer is None else self.backend.report.versions.get(offer.model, offer.version)

    @property
    def _key(self) -> KindKey:
        others = tuple([(offer.model, self._served(offer)) for offer in self.others])
        return KindKey(f"{self.offer.model}/{self.version}", self._served(self.offer), self.pool, others)

    async def probe(self) -> bool:
        """Ask the node whether it is ready. Callers at the same time, or just after, share one probe."""
        if self._probing is None:
            if monotonic() - self._probed_at < _FRESH_PROBE_S:
                return self.is_healthy
            self._probing = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probing)

    async def _probe(self) -> bool:
        own = self.in_flight
        try:
            is_up = await self.backend.ready()
            self._silences = 0
        except BackendTimeoutError:  # a busy node may miss one: what it was asked for would time out by itself
            self._silences += 1
            is_up = self.is_healthy and self._silences < _MOST_SILENCES
        except Exception:  # noqa: BLE001 - a probe that breaks says that the node is not well
            is_up = False
        finally:
            self._probed_at = monotonic()
            self._probing = None
        if is_up:
            self._heed_report(own)
            is_up = await self._is_cleared()
        if is_up != self.is_healthy:
            _log.info("node_ready" if is_up else "node_not_ready", extra={"node": self.name})
        self._fleet.up(self.member, is_up=is_up)
        self.show()
        return is_up

    def _heed_report(self, own: int) -> None:
        """Take in what the node said while `own` to now requests of it were ours."""
        report = self.backend.report
        ours = max(own, self.in_flight)
        foreign = 0 if report.present is None else max(report.present - ours, 0)
        self._fleet.told(self.member, self._key, slots=report.slots, foreign=foreign)

    async def _is_cleared(self) -> bool:
        """Have a canary decide about a node that failed too often: it is let in again, or not, or is down."""
        breaker = self.member.breaker
        is_ejected = breaker.state is Circuit.HALF_OPEN
        if not is_ejected and not (breaker.is_tripping and breaker.is_closed):
            return True
        is_well = await self._canary()
        if is_ejected:
            _log.info("canary", extra={"node": self.name, "is_well": is_well})
            if is_well:
                self._fleet.canary_passed(self.member)
            else:
                self._fleet.canary_failed(self.member)
            return True
        if is_well:  # else it stays down until a canary comes through
            breaker.close()
        return is_well

    async def _canary(self) -> bool:
        asked = _CANARY
        if not self.backend.report.serves_first and self.models:
            asked = _CANARY.changed(model=self.models[0])
        try:
            async with (
                asyncio.timeout(_CANARY_S),
                aclosing(self.backend.generate(asked, timeout_s=_CANARY_S)) as events,
            ):
                async for event in events:
                    if event.type == "finished":
                        return True
        except OverloadedError:
            return True  # it is well enough to say so
        except Exception:  # noqa: BLE001 - whatever it is, it was no answer
            return False
        return False

    def ask(self, request: GenerateRequest, ticket: Ticket, *, timeout_s: float) -> "NodeAnswer":
        """Begin one request; the answer must be closed."""
        return NodeAnswer(self, ticket, self.backend.generate(request, timeout_s=timeout_s))

    def left(self, error: BaseException | None) -> None:
        """Learn from how an answer ended before its end; `NodeAnswer` tells, once."""
        if isinstance(error, BackendError):
            self._failed(error)
        if isinstance(error, OverloadedError):
            self._metrics.upstream_errors(self.pool, "overload").inc()
        self.show()

    def finished(self) -> None:
        """Learn that an answer came to its end."""
        self._fleet.succeeded(self.member)
        if not self.member.is_open:
            self.show()

    def _failed(self, error: BackendError) -> None:
        member, fleet = self.member, self._fleet
        fleet.failed(member)
        match error:
            case BackendTimeoutError():
                reason = "timeout"
            case BackendUnavailableError():
                reason = "connect"
                fleet.up(member, is_up=False)  # until the next probe says otherwise
                self._probed_at = float("-inf")
            case _:
                reason = "protocol"
        self._metrics.upstream_errors(self.pool, reason).inc()
        _log.warning("node_failed", extra={"node": self.name, "reason": reason, "words": str(error)})

    def show(self) -> None:
        now = (self.is_healthy, self.member.breaker.state)
        if now != self._shown:  # asked after every request, and nearly always the same
            self._shown = now
            self._metrics.node_healthy(self.name).set(self.is_healthy)
            self._metrics.circuit_state(self.name).set(int(now[1]))


class NodeAnswer:
    """What a node says to one request, event by event. Closing it early cancels the work there."""

    __slots__ = ("_events", "_is_over", "_node", "ticket")

    def __init__(self, node: Node, ticket: Ticket, events: Answer) -> None:
        self._node = node
        self.ticket = ticket
        self._events = events
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GenerationEvent:
        try:
            event = await anext(self._events)
        except BaseException as error:
            self._end(error)
            raise
        if event.type == "finished" and not self._is_over:
            self._is_over = True
            self.ticket.left(monotonic(), event.usage.completion_tokens)
            self._node.finished()
        return event

    async def aclose(self) -> None:
        self._end(None)
        await self._events.aclose()

    def _end(self, error: BaseException | None) -> None:
        if not self._is_over:
            self._is_over = True
            self.ticket.left(monotonic())
            self._node.left(error)
