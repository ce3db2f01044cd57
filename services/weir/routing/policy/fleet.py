"""All nodes, and which of them takes a request: the one that is predicted to finish it first.

A prediction is what has to be waited for at the node, plus the time to read the prompt, plus the time for each token of
an answer of the expected length; the times are learned for nodes of one kind (`Profile`), a node that is slower or
faster than its fellows has a pace of its own. A second before the first token counts as several: a node reads prompts
one by one, and who waits or is read holds up those that come after. Load is reserved when a node is picked, before it
is asked.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from math import inf
from time import monotonic
from types import MappingProxyType
from typing import Final

from weir.routing.policy.holders import Holders
from weir.routing.policy.job import Job
from weir.routing.policy.member import FIRST_PRICE, UNBOUNDED, Kind, KindKey, Member
from weir.routing.policy.pools import Pool, arranged
from weir.routing.policy.profile import Lengths
from weir.routing.policy.ticket import Ticket

LOAD_BOUND: Final = 1.25  # times the mean of its kind, plus one: who has more gets nothing for knowing a prompt
_RAMP_S: Final = 10.0
_DOUBLING_S: Final = 1.0
_LOOK_S: Final = 0.25
_DEFAULT: Final = ""


class Fleet:
    """Members come and go by name; `pick` chooses among those that are open.

    At most half of the members are ejected at a time; what is down, by its own word or because nothing is heard of it,
    does not count. Where flavours are not proven equal, one pool of them is used, see `arranged`.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, *, proven: Collection[str] = ()) -> None:
        self._clock = clock
        self._proven = frozenset(proven)
        self._proven_of: dict[str, frozenset[str]] = {}
        self.members: dict[str, Member] = {}
        self.pools: Sequence[Pool] = ()  # for the default model
        self.pools_of: dict[str, Sequence[Pool]] = {}  # for each other one
        self._kinds: dict[KindKey, Kind] = {}
        self._lengths: dict[str, Lengths] = {}
        self._holders = Holders()
        self._ramping: set[Member] = set()
        self._listed = self._turn = 0
        self._looks_at = 0.0

    # who there is

    def add(self, name: str, key: KindKey) -> Member:
        """Take in a node that is not up yet."""
        if name in self.members:
            raise ValueError(f"there is a node {name} already")
        self._listed += 1
        member = Member(name, self._listed, self._kind(key), self._clock)
        self.members[name] = member
        member.kind.join(member)
        self._arrange()
        return member

    def remove(self, member: Member) -> None:
        """Let a node finish what it has; it gets nothing new."""
        if self.members.get(member.name) is not member:
            return
        member.is_leaving = True
        member.set_open()
        member.move(Kind(member.kind.key, member.kind.profile))  # what it still has is no load of theirs
        del self.members[member.name]
        self._ramping.discard(member)
        self._arrange()
        self._readmit()

    def told(self, member: Member, key: KindKey, *, slots: int | None, foreign: int) -> None:
        """Take in what a node says of itself: what it is, how many it answers together, what others have there."""
        if key != member.kind.key:
            if member.is_open and any(not key.serves(model) for model in self._served_by(member)):
                member.well_at = self._clock()  # for who wants that: it may come back
            member.move(self._kind(key))
            self._arrange()
        if slots is not None:
            member.slots, member.is_slots_told = slots, True
        if slots is not None or foreign != member.foreign:
            member.foreign = foreign
            member.refresh()

    def prove(self, flavours: Collection[str], others: Mapping[str, Collection[str]] = MappingProxyType({})) -> None:
        """Say which flavours of the release were proven to answer alike, and of releases of `others`, by model."""
        proven_of = {model: frozenset(proven) for model, proven in others.items()}
        if (frozenset(flavours), proven_of) != (self._proven, self._proven_of):
            self._proven, self._proven_of = frozenset(flavours), proven_of
            self._arrange()

    def _kind(self, key: KindKey) -> Kind:
        """Return a kind; a new one begins with what is known of the same flavour of another release."""
        kind = self._kinds.get(key)
        if kind is None:
            known = next((other for other in self._kinds.values() if other.key[1:] == key[1:]), None)
            kind = Kind(key, None if known is None else deepcopy(known.profile))
            self._kinds = {other.key: other for other in self._kinds.values() if other.members} | {key: kind}
        return kind

    def _arrange(self) -> None:
        kinds = [kind for kind in self._kinds.values() if kind.members]
        self.pools = arranged(kinds, self._proven)
        self.pools_of = {model: arranged(kinds, proven, model) for model, proven in self._proven_of.items()}

    # who is well

    def up(self, member: Member, *, is_up: bool) -> None:
        """Note whether a node would take requests; one that comes back after a failure begins slowly."""
        if member.is_up != is_up:
            member.is_up = is_up
            if not is_up:
                member.has_failed = True
            else:
                member.breaker.hurry()
                if member.has_failed and member.breaker.is_closed:
                    self._begin_slowly(member)
            self._set_open(member)

    def failed(self, member: Member) -> None:
        """Note a failure of a node that it is to blame for."""
        member.breaker.failed()
        if member.breaker.is_tripping:
            self._eject(member)

    def succeeded(self, member: Member) -> None:
        """Note an answer that came to its end."""
        member.breaker.succeeded()
        if member.is_outlier:
            self._eject(member)

    def canary_passed(self, member: Member) -> None:
        """Let an ejected node have requests again, few at first."""
        member.breaker.close()
        member.forget_pace()
        self._begin_slowly(member)
        member.set_open()

    def canary_failed(self, member: Member) -> None:
        member.breaker.open()

    @property
    def ejected(self) -> list[Member]:
        return [member for member in self.members.values() if not member.breaker.is_closed]

    def _eject(self, member: Member) -> None:
        """Open a node's breaker unless more than half would be ejected then; the last one of a model never is."""
        others = [other for other in self.members.values() if other is not member]
        well = [other.kind.key for other in others if other.is_up and other.breaker.is_closed]
        if not all(any(key.serves(model) for key in well) for model in self._served_by(member)):
            return
        if member.breaker.is_closed and 2 * (len(self.ejected) + 1) <= len(self.members):
            member.breaker.open()
            self._set_open(member)

    def _set_open(self, member: Member) -> None:
        """Take in a change; with the last node gone, a canary is to find out at once whether an ejected one will do."""
        was_open = member.is_open
        member.set_open()
        if was_open and not member.is_open:
            member.well_at = self._clock()
            if not all(map(self.is_ready_for, self._served_by(member))):
                for other in self.ejected:
                    other.breaker.hurry()

    def _readmit(self) -> None:
        ejected = self.ejected
        while 2 * len(ejected) > len(self.members):
            self.canary_passed(ejected.pop(0))

    def _begin_slowly(self, member: Member) -> None:
        member.has_failed = False
        member.ramp_from, member.most = self._clock(), 1
        self._ramping.add(member)

    def _look(self, now: float) -> None:
        """Take in what only time tells."""
        self._looks_at = now + _LOOK_S
        for kind in self._kinds.values():
            kind.look(now)
        for member in self.members.values():
            member.look(now)
        if self._ramping:
            self._ramp(now)

    def _ramp(self, now: float) -> None:
        for member in list(self._ramping):
            passed_s = now - member.ramp_from
            most = UNBOUNDED if passed_s >= _RAMP_S else int(2 ** (passed_s / _DOUBLING_S))
            if most != member.most:
                member.most = most
                member.refresh()
            if most == UNBOUNDED:
                self._ramping.discard(member)

    # who takes it

    @property
    def models(self) -> tuple[str, ...]:
        """All there are; the default one has no name here."""
        return (_DEFAULT, *self._proven_of)

    def open_count(self, model: str = _DEFAULT) -> int:
        """Count the nodes that may take requests for a model, standby pools included."""
        return sum(kind.open_count for pool in self.pools_of.get(model, self.pools) for kind in pool.kinds)

    def is_ready_for(self, model: str = _DEFAULT) -> bool:
        return self.open_count(model) > 0

    @property
    def slots(self) -> int | None:
        """How many requests the nodes in use answer together, whatever they serve.

        None: one of them does not say, or none is open.
        """
        used = {member for pools in (self.pools, *self.pools_of.values()) for member in _used(pools)}
        return sum(member.slots for member in used) if used and all(one.is_slots_told for one in used) else None

    def pick(self, job: Job) -> Ticket | None:
        """Reserve a place at the node that is predicted to finish first; none: no node is open."""
        now = self._clock()
        if now >= self._looks_at:
            self._look(now)
        lengths = self._lengths_of(job.model)
        tokens = lengths.expected(job.most_tokens)
        chosen = self._choose(job, tokens)
        if chosen is None:
            return None
        member, seconds, matched = chosen
        member.kind.used(now)
        self._turn = member.turn = self._turn + 1
        ticket = Ticket(member, job, lengths, tokens=tokens, matched=matched, now=now)
        ticket.predicted_s = seconds
        if job.beginnings:
            self._holders.note(job.beginnings, member)
        return ticket

    def choose(self, job: Job) -> tuple[Member, float, int] | None:
        """Return a node, the predicted seconds, and how many tokens of the prompt it has read before."""
        return self._choose(job, self._lengths_of(job.model).expected(job.most_tokens))

    def _choose(self, job: Job, tokens: int) -> tuple[Member, float, int] | None:
        for pool in self.pools_of.get(job.model, self.pools):
            found = self._best(pool, job, tokens) or self._last_resort(pool, job, tokens)
            if found is not None:
                return found
        return None

    def _best(self, pool: Pool, job: Job, tokens: int) -> tuple[Member, float, int] | None:
        best: Member | None = None
        least_s, without = inf, job.without
        first_size, step_size = job.prompt_tokens.bit_length(), tokens.bit_length()
        for kind in pool.kinds:
            if kind.is_unknown and (trial := kind.to_try(without)) is not None:
                return trial, 0.0, 0
            profile = kind.profile
            first, step = profile.first.rows[first_size], profile.step.rows[step_size]
            for member in kind.members if without or not kind.is_large else kind.shelf.top():
                if not member.is_open or member.in_flight >= member.most or (without and member.name in without):
                    continue
                level = member.level
                seconds = member.queue_s + member.pace * (FIRST_PRICE * first[level] + tokens * step[level])
                if seconds < least_s or (seconds == least_s and best is not None and member.turn < best.turn):
                    best, least_s = member, seconds
        if best is None:
            return None
        if job.beginnings:
            return self._held(pool, job, tokens, best, least_s)
        return best, least_s, 0

    def _held(self, pool: Pool, job: Job, tokens: int, best: Member, least_s: float) -> tuple[Member, float, int]:
        """Prefer a node that has read the prompt's beginning, if that saves time and it has no more to do than most."""
        step_size, matched = tokens.bit_length(), 0
        for key, length in job.beginnings:
            first_size = (job.prompt_tokens - length).bit_length()
            is_known = False
            for member in self._holders.of(key):
                kind = member.kind
                if (
                    not member.is_open
                    or member.in_flight >= member.most
                    or (member.in_flight - 1) * kind.open_count > LOAD_BOUND * kind.in_flight
                    or kind not in pool.kinds
                    or member.name in job.without
                ):
                    continue
                is_known, level, profile = True, member.level, kind.profile
                read_s = FIRST_PRICE * profile.first.rows[first_size][level]
                seconds = member.queue_s + member.pace * (read_s + tokens * profile.step.rows[step_size][level])
                if seconds < least_s or (seconds == least_s and not matched):
                    best, least_s, matched = member, seconds, length
            if is_known:
                break
        return best, least_s, matched

    def _last_resort(self, pool: Pool, job: Job, tokens: int) -> tuple[Member, float, int] | None:
        """Take one that may have no more, just after it recovered, when there is no other."""
        kinds = [kind for kind in pool.kinds if kind.open_count]
        usable = [
            member for kind in kinds for member in kind.members if member.is_open and member.name not in job.without
        ]
        if not usable:
            return None
        best = min(usable, key=lambda member: member.in_flight)
        return best, best.queue_s + tokens * best.kind.profile.usual_step(best.level), 0

    def _served_by(self, member: Member) -> list[str]:
        return [model for model in self.models if member.kind.key.serves(model)]

    def _lengths_of(self, model: str) -> Lengths:
        lengths = self._lengths.get(model)
        if lengths is None:
            lengths = self._lengths[model] = Lengths()
        return lengths


def _used(pools: Sequence[Pool]) -> list[Member]:
    """Return the nodes of the first pool that has any: the next ones stand by."""
    for pool in pools:
        if used := [member for kind in pool.kinds for member in kind.members if member.is_open]:
            return used
    return []
