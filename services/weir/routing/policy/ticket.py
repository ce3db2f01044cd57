"""One request at a node: what is reserved for it, and what is learned from how it goes."""

from typing import Final

from weir.routing.policy.job import Job
from weir.routing.policy.member import Member
from weir.routing.policy.profile import Lengths

_SHORT: Final = 0.25  # of its own reading: what is before it does not matter then
_LATE: Final = 3.0  # times what was predicted: it had to wait for a slot
_NOISE_S: Final = 0.01
_OVERDUE: Final = 2.0  # times what was predicted
_GRACE_S: Final = 0.25


class Ticket:
    """A reservation; `began` at the first token, then `left` once, however the request ended."""

    __slots__ = (
        "_before_s",
        "_ends",
        "_first_at",
        "_first_size",
        "_lengths",
        "_level",
        "_load",
        "_most",
        "_prompt_tokens",
        "_read_s",
        "_read_us",
        "_sent_at",
        "_slot_wait_s",
        "_step_size",
        "_tokens",
        "due_at",
        "is_held",
        "member",
        "predicted_s",
    )

    def __init__(self, member: Member, job: Job, lengths: Lengths, *, tokens: int, matched: int, now: float) -> None:
        self.member, self._lengths = member, lengths
        self.is_held = matched > 0
        self.predicted_s = 0.0
        self._most = job.most_tokens
        self._prompt_tokens = job.prompt_tokens
        self._sent_at = now
        self._first_at: float | None = None
        self._tokens = tokens
        self._reserve(job.prompt_tokens - matched)

    def _reserve(self, unread: int) -> None:
        member, tokens = self.member, self._tokens
        self._first_size = size = unread.bit_length()
        self._step_size = tokens.bit_length()
        self._level = level = member.level
        self._slot_wait_s = member.slot_wait_s
        self._before_s = member.unread_us * 1e-6
        self._load = member.in_flight + 1
        self._ends = member.ends
        self._read_s = read_s = member.kind.profile.first.rows[size][level]
        self._read_us = read_us = int(read_s * 1e6)
        before_s = member.kind.profile.serial * self._before_s + self._slot_wait_s
        self.due_at = self._sent_at + _OVERDUE * member.pace * (before_s + read_s) + _GRACE_S
        member.unbegun[self] = None
        member.in_flight += 1
        member.kind.in_flight += 1
        member.tokens += tokens
        member.unread_us += read_us
        member.refresh()

    def began(self, now: float) -> None:
        """Learn from the first token."""
        if self._first_at is not None:
            return
        self._first_at = now
        member = self.member
        member.unread_us -= self._read_us
        self._heard()
        self._learn_first((now - self._sent_at) / member.pace)
        member.refresh()

    def _heard(self) -> None:
        del self.member.unbegun[self]
        self.member.lag_s = 0.0

    def _learn_first(self, wait_s: float) -> None:
        member, read_s = self.member, self._read_s
        profile = member.kind.profile
        before_s = profile.serial * self._before_s
        is_late = wait_s > _LATE * (read_s + before_s) + _NOISE_S
        member.learn_slots(self._load, member.ends - self._ends, is_late=is_late)
        member.learn_pace(wait_s * member.pace, read_s + before_s + self._slot_wait_s)
        if self._slot_wait_s > 0:
            profile.learn_turn(max(wait_s - read_s - before_s, 0.0), self._slot_wait_s)
        elif self._before_s > _SHORT * read_s:
            profile.learn_serial(wait_s - read_s, self._before_s)
        else:
            profile.first.observe(self._first_size, self._level, wait_s)

    def left(self, now: float, tokens: int | None = None) -> None:
        """Give back what was reserved; `tokens`: of a whole answer."""
        member, kind = self.member, self.member.kind
        if self._first_at is None:
            member.unread_us -= self._read_us
            self._heard()
        member.in_flight -= 1
        kind.in_flight -= 1
        member.tokens -= self._tokens
        member.ends += 1
        if tokens is not None and self._first_at is not None:
            self._lengths.observe(self._most, tokens)
            kind.profile.learn_sizes(self._prompt_tokens, tokens)
            if tokens > 1:
                step_s = (now - self._first_at) / (tokens - 1)
                member.learn_pace(step_s, kind.profile.step.rows[self._step_size][self._level])
                kind.profile.step.observe(self._step_size, self._level, step_s / member.pace)
        member.refresh()
