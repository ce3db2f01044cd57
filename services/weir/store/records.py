"""What was used and what happened: usage per key and day, spent budgets, audit rows. Written in batches."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from weir.store.database import Database, upsert
from weir.store.schema import AUDIT, SPENT, USAGE

_PAGE: Final = 500

_ADD_USAGE: Final = """
INSERT INTO usage (key_id, model, day, requests, prompt_tokens, generated_tokens)
VALUES (:key_id, :model, :day, :requests, :prompt_tokens, :generated_tokens)
ON CONFLICT (key_id, model, day) DO UPDATE SET
  requests = usage.requests + excluded.requests,
  prompt_tokens = usage.prompt_tokens + excluded.prompt_tokens,
  generated_tokens = usage.generated_tokens + excluded.generated_tokens
"""
_ADD_SPENT: Final = """
INSERT INTO spent (key_id, month, tokens) VALUES (:key_id, :month, :tokens)
ON CONFLICT (key_id, month) DO UPDATE SET tokens = spent.tokens + excluded.tokens
"""


class UsageSlot(NamedTuple):
    """What is counted apart."""

    key_id: str
    model: str
    day: str


class Used(NamedTuple):
    """Counts of one slot."""

    requests: int
    prompt_tokens: int
    generated_tokens: int

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.generated_tokens

    def plus(self, other: "Used") -> "Used":
        return Used(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
        )


class AuditRow(NamedTuple):
    """One request, without a word of it. `verdicts` are rule ids; the HMACs tell equal texts, not what they say.

    `policy` names the guard policy that it was held to; `finds` is a JSON list of what its rules found: rule, action,
    phase, where, [start, end) in characters, view, HMAC.
    """

    at_ms: int
    request_id: str
    key_id: str
    tenant: str
    route: str
    model: str
    version: int | None
    pool: str
    status: int
    verdicts: str
    blocked_by: str | None
    prompt_tokens: int
    generated_tokens: int
    duration_ms: int
    prompt_hmac: str
    answer_hmac: str
    policy: str = ""
    finds: str = ""


def day_of(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def month_of(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")


class RecordStore:
    """Writes in batches; reads for people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, usage: Mapping[UsageSlot, Used], audit: Sequence[AuditRow]) -> None:
        """Add all of it, or nothing.

        Raises:
            StoreError: nothing was written.
        """
        if not usage and not audit:
            return
        with self._database.writing() as connection:
            upsert(connection, _ADD_USAGE, [slot._asdict() | used._asdict() for slot, used in sorted(usage.items())])
            upsert(connection, _ADD_SPENT, _spent(usage))
            if audit:
                connection.execute(insert(AUDIT), [row._asdict() for row in audit])

    def spent(self, key_ids: Sequence[str], month: str) -> dict[str, int]:
        """Return how many tokens each of the keys has used in the month; those that used none are left out."""
        found: dict[str, int] = {}
        with self._database.reading() as connection:
            for begin in range(0, len(key_ids), _PAGE):
                some = key_ids[begin : begin + _PAGE]
                rows = connection.execute(
                    select(SPENT.c.key_id, SPENT.c.tokens).where(SPENT.c.month == month, SPENT.c.key_id.in_(some))
                )
                found |= {key_id: int(tokens) for key_id, tokens in rows}
        return found

    def usage(self, *, key_id: str | None = None, since_day: str = "", by: str = "day") -> list[dict[str, Any]]:
        """Return usage per key, model and `day` or `month`, the oldest first."""
        period = USAGE.c.day if by == "day" else func.substr(USAGE.c.day, 1, 7)
        columns = (USAGE.c.key_id, USAGE.c.model, period.label(by))
        sums = [func.sum(USAGE.c[name]).label(name) for name in ("requests", "prompt_tokens", "generated_tokens")]
        query = (
            select(*columns, *sums).where(USAGE.c.day >= since_day).group_by(*columns).order_by(by, "key_id", "model")
        )
        if key_id is not None:
            query = query.where(USAGE.c.key_id == key_id)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            {name: int(value) if not isinstance(value, str) else value for name, value in row.items()} for row in rows
        ]

    def audit(self, *, after_id: int = 0, key_id: str | None = None, since_ms: int = 0) -> Iterator[dict[str, Any]]:
        """Yield audit rows, the oldest first, a page at a time: no lock is held in between."""
        while True:
            query = select(AUDIT).where(AUDIT.c.id > after_id, AUDIT.c.at_ms >= since_ms)
            if key_id is not None:
                query = query.where(AUDIT.c.key_id == key_id)
            with self._database.reading() as connection:
                rows = connection.execute(query.order_by(AUDIT.c.id).limit(_PAGE)).mappings().all()
            for row in rows:
                yield dict(row)
            if len(rows) < _PAGE:
                return
            after_id = rows[-1]["id"]

    def newest_audit_id(self, *, back: int) -> int:
        """Return the id after which `back` rows stand."""
        with self._database.reading() as connection:
            return int(connection.scalar(select(AUDIT.c.id).order_by(AUDIT.c.id.desc()).offset(back).limit(1)) or 0)

    def prune_audit(self, before_ms: int, *, at_most: int = 5000) -> int:
        """Delete the oldest rows that ended before `before_ms`; return how many. Bounded, so that no lock is long."""
        with self._database.writing() as connection:
            return _pruned(connection, before_ms, at_most)


def _pruned(connection: Connection, before_ms: int, at_most: int) -> int:
    old = select(AUDIT.c.id).where(AUDIT.c.at_ms < before_ms).order_by(AUDIT.c.at_ms).limit(at_most)
    return connection.execute(delete(AUDIT).where(AUDIT.c.id.in_(old))).rowcount


def _spent(usage: Mapping[UsageSlot, Used]) -> list[dict[str, Any]]:
    """Sum per key and month, always in one order: two writers never wait for each other in a ring."""
    sums: dict[tuple[str, str], int] = {}
    for slot, used in usage.items():
        where = (slot.key_id, slot.day[:7])
        sums[where] = sums.get(where, 0) + used.tokens
    return [{"key_id": key_id, "month": month, "tokens": tokens} for (key_id, month), tokens in sorted(sums.items())]
