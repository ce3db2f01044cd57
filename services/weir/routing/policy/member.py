"""What the policy knows of one node, and of nodes of one kind together."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple, Protocol

from weir.routing.policy.breaker import Breaker
from weir.routing.policy.grid import level_of
from weir.routing.policy.profile import Profile
from weir.routing.policy.shelf import Shelf

UNBOUNDED: Final = 1 << 20  # slots of a node that does not say and was never seen to queue
FEW: Final = 8  # so many are simply looked at one by one
_SLOT_LEARNING: Final = 0.2
_PACE_WEIGHT: Final = 0.1
_RECENT_WEIGHT: Final = 0.3
_KIND_WEIGHT: Final = 0.02
_FADING: Final = 0.05  # of a node's pace, four times a second while it has nothing to do
_ENOUGH: Final = 8  # answers before a node is called slower or faster than its fellows
_KNOWN: Final = 4  # answers before the times of a kind are more than a guess
_TRIALS: Final = 2  # requests that a node of an unknown kind may have, however long they may take there
_STALE_S: Final = 10.0
_SAME: Final = 0.2  # a fifth more or less is not told apart from chance
_OUTLIER: Final = math.log(4.0)  # beside its fellows
_SUDDEN: Final = math.log(2.0)  # beside itself
FIRST_PRICE: Final = 8.0  # of a second before the first token: who waits, or is read, holds up those that come after


class KindKey(NamedTuple):
    """Nodes that answer alike: `release` as `model/version`, `label` is what metrics call the kind of machine.

    `others` holds further models, each with its flavour there. A flavour that is none: the model is not served.
    """

    release: str
    flavour: str | None
    label: str
    others: tuple[tuple[str, str | None], ...] = ()

    def flavour_of(self, model: str) -> str | None:
        """Return the flavour of a further model; empty: nobody knows, none: it is not served."""
        return next((flavour for name, flavour in self.others if name == model), "")

    def serves(self, model: str) -> bool:
        """Whether it serves a model; whatever is no further one is the default one."""
        return next((flavour for name, flavour in self.others if name == model), self.flavour) is not None


class Unbegun(Protocol):
    """A request of which no token came yet; `due_at`: when it is late."""

    due_at: float


class Kind:
    """Nodes of one kind, and what was learned of them."""

    def __init__(self, key: KindKey, profile: Profile | None = None) -> None:
        self.key = key
        self.profile = profile or Profile()
        self.members: list[Member] = []
        self.shelf: Shelf[Member] = Shelf()
        self.in_flight = 0
        self.open_count = 0
        self.drift = 0.0
        self.is_large = False
        self.is_unknown = True  # its times are a guess, or old: a request now and then has to find out
        self.used_at = 0.0

    def look(self, now: float) -> None:
        self.is_unknown = self.profile.answers < _KNOWN or now - self.used_at > _STALE_S

    def used(self, now: float) -> None:
        self.used_at = now
        self.is_unknown = self.profile.answers < _KNOWN

    def candidates(self, without: Collection[str]) -> "Sequence[Member]":
        """Return all that may be chosen; of many, those with least to do."""
        return self.members if without or not self.is_large else self.shelf.top()

    def to_try(self, without: Collection[str]) -> "Member | None":
        """Return a member that has hardly anything to do, to find out how fast this kind is."""
        most = _TRIALS if self.profile.answers < _KNOWN else 1
        least = min(
            (member for member in self.candidates(without) if member.is_open and member.name not in without),
            key=lambda member: (member.in_flight + member.foreign, member.turn),
            default=None,
        )
        return None if least is None or least.in_flight + least.foreign >= min(most, least.most) else least

    def join(self, member: "Member") -> None:
        self.members.append(member)
        self.in_flight += member.in_flight
        self.open_count += member.is_open
        self._resize()

    def part(self, member: "Member") -> None:
        """Let a member go; what it still has is no load of this kind's."""
        self.members.remove(member)
        self.in_flight -= member.in_flight
        self.open_count -= member.is_open
        self._resize()

    def _resize(self) -> None:
        self.shelf.size = len(self.members)
        is_large = len(self.members) > FEW
        if is_large and not self.is_large:
            for member in self.members:
                member.shelve()
        self.is_large = is_large


class Member:
    """One node's load, health and speed. `refresh` follows every change of its load.

    Attributes:
        number: the order in which nodes were listed.
        in_flight: requests of ours.
        tokens: that are expected in their answers.
        unread_us: microseconds that reading those prompts takes of which no token came yet.
        foreign: requests of others, as far as the node tells.
        slots: requests that it answers together; more than these wait there.
        most: requests of ours that it may have; few just after it recovered.
        well_at: when it last was open, while it is not.
        has_failed: since it was last well.
        pace: how much longer than its fellows it takes.
        queue_s: the price of what there is to wait for before a new request is read.
        lag_s: how much the oldest request without a token is overdue.
        level: the load that a new request would meet.
    """

    __slots__ = (
        "_answers",
        "_drift",
        "_recent",
        "_usual",
        "breaker",
        "ends",
        "foreign",
        "has_failed",
        "in_flight",
        "is_leaving",
        "is_open",
        "is_slots_told",
        "is_up",
        "kind",
        "lag_s",
        "level",
        "most",
        "name",
        "number",
        "pace",
        "queue_s",
        "ramp_from",
        "slot_wait_s",
        "slots",
        "stamp",
        "tokens",
        "turn",
        "unbegun",
        "unread_us",
        "well_at",
    )

    def __init__(self, name: str, number: int, kind: Kind, clock: Callable[[], float]) -> None:
        self.name = name
        self.number = number
        self.kind = kind
        self.breaker = Breaker(clock=clock)
        self.in_flight = self.tokens = self.unread_us = self.foreign = self.ends = self.turn = self.stamp = 0
        self.slots: int = UNBOUNDED
        self.is_slots_told = self.is_up = self.is_leaving = self.is_open = self.has_failed = False
        self.most = UNBOUNDED
        self.ramp_from = 0.0
        self.well_at = -math.inf
        self.pace = 1.0
        self._drift = self._recent = self._usual = 0.0
        self._answers = 0
        self.queue_s = self.slot_wait_s = self.lag_s = 0.0
        self.unbegun: dict[Unbegun, None] = {}
        self.level = 1

    def refresh(self) -> None:
        """Find out anew what a request would have to wait for here."""
        before = self.in_flight + self.foreign
        slots, profile = self.slots, self.kind.profile
        queue_s = profile.serial * self.unread_us * 1e-6
        if before < slots:
            self.level = level_of(before + 1)
            self.slot_wait_s = 0.0
        else:
            self.level = level = level_of(slots)
            tokens = self.tokens + self.foreign * profile.answer_tokens
            share = (before + 1 - slots) / before
            self.slot_wait_s = share * tokens / slots * profile.usual_step(level) * profile.turn
            queue_s += self.slot_wait_s
        self.queue_s = (queue_s * self.pace + self.lag_s) * FIRST_PRICE + before * profile.crowd_s
        if self.kind.is_large:
            self.shelve()

    def look(self, now: float) -> None:
        """Notice that the first token of the oldest request is overdue, and by how much; forget what is old."""
        if not self.in_flight and self.pace != 1.0:
            self._forget(_FADING)
        oldest = next(iter(self.unbegun), None)
        lag_s = 0.0 if oldest is None else max(now - oldest.due_at, 0.0)
        if lag_s != self.lag_s:
            self.lag_s = lag_s
            self.refresh()

    def shelve(self) -> None:
        if self.is_open:
            profile, level = self.kind.profile, self.level
            usual_s = FIRST_PRICE * profile.usual_first(level) + profile.usual_step(level) * profile.answer_tokens
            self.kind.shelf.put(self.queue_s + self.pace * usual_s, self)

    def set_open(self) -> None:
        """Take in a change of `is_up`, `is_leaving` or the breaker."""
        is_open = self.is_up and not self.is_leaving and self.breaker.is_closed
        if is_open != self.is_open:
            self.is_open = is_open
            self.kind.open_count += 1 if is_open else -1
            self.refresh()

    def move(self, kind: Kind) -> None:
        """Become a node of another kind, with all that it has to do."""
        self.kind.part(self)
        self.stamp += 1  # what stands of it in a shelf is stale
        self.kind = kind
        kind.join(self)
        self.forget_pace()
        self.refresh()

    def learn_slots(self, load: int, ended: int, *, is_late: bool) -> None:
        """Learn from a first token of a node that does not tell.

        With no answer ended before it there was room; a late one had to wait for those.
        """
        if not ended:
            self.slots = max(self.slots, load)
        elif is_late and load > ended:
            seen = load - ended
            if self.slots == UNBOUNDED:
                self.slots = seen
            else:
                self.slots += round(_SLOT_LEARNING * (seen - self.slots))
                self.slots = max(self.slots, 1)

    def learn_pace(self, seconds: float, usual_s: float) -> None:
        """Learn from a time for which its kind usually takes `usual_s`."""
        if seconds <= 0 or usual_s <= 0:
            return
        ratio, kind = math.log(seconds / usual_s), self.kind
        self._answers += 1
        kind.drift += _KIND_WEIGHT * (ratio - kind.drift)
        weight = max(_PACE_WEIGHT, 1 / self._answers)
        self._drift += weight * (ratio - self._drift)
        self._recent += _RECENT_WEIGHT * (ratio - self._recent)
        self._usual += max(_KIND_WEIGHT, 1 / self._answers) * (ratio - self._usual)
        if self._answers >= _ENOUGH:
            slower = self._drift - kind.drift
            self.pace = math.exp(slower) if abs(slower) > _SAME else 1.0

    @property
    def is_outlier(self) -> bool:
        """Whether it has suddenly become much slower than its fellows and than itself."""
        if self._answers < _ENOUGH or self._recent - self.kind.drift < _OUTLIER:
            return False
        others = [member._recent for member in self.kind.members if member is not self]  # noqa: SLF001
        if not others or self._recent - sum(others) / len(others) < _OUTLIER:  # all are slower: that is the load
            return False
        return self._recent - self._usual > _SUDDEN

    def _forget(self, share: float) -> None:
        """Whoever has nothing to do cannot show that he is as fast as the others again."""
        self._drift += share * (self.kind.drift - self._drift)
        slower = self._drift - self.kind.drift
        self.pace = math.exp(slower) if abs(slower) > _SAME else 1.0
        self.refresh()

    def forget_pace(self) -> None:
        """Begin anew: the node is not what it was."""
        self._answers, self.pace = 0, 1.0
        self._drift = self._recent = self._usual = self.kind.drift
