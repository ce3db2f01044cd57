"""API keys in the database."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, RowMapping, func, insert, select, update

from weir.contracts.caller import Caller
from weir.contracts.errors import UsageError
from weir.store.database import Database
from weir.store.key_text import new_secret
from weir.store.schema import KEYS, REVISION

MAX_LIVE_KEYS: Final = 100_000  # every gateway holds them all in memory, about 1 KB each

Clock = Callable[[], float]


def now() -> float:
    """Seconds since 1970: what is written down must mean the same on every machine."""
    return datetime.now(UTC).timestamp()


class KeySpec(BaseModel):
    """What a new key is called and what it may do. A limit that is left out is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w.@ -]{1,64}$", description="for people: who or what uses it")
    tenant: str | None = Field(
        default=None, pattern=r"^[\w.@-]{1,64}$", description="keys of one tenant share caches; none: the key's own id"
    )
    priority: int = Field(default=0, ge=-10, le=10, description="higher goes first")
    models: tuple[str, ...] | None = Field(default=None, min_length=1, description="may use only these; none: all")
    max_concurrency: int | None = Field(default=None, ge=1, le=100_000, description="requests at once")
    requests_per_min: int | None = Field(default=None, ge=1, le=1_000_000)
    tokens_per_min: int | None = Field(default=None, ge=1, le=1_000_000_000, description="of prompts and answers")
    monthly_tokens: int | None = Field(default=None, ge=1, le=10**15, description="budget per calendar month (UTC)")
    expires_at: int | None = Field(default=None, ge=0, description="seconds since 1970")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One key as the database knows it; `digest` is the SHA-256 of its text, which nobody has but its owner."""

    caller: Caller
    name: str
    digest: bytes = field(repr=False)
    old_digest: bytes | None = field(repr=False)
    old_until: int | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None

    @property
    def id(self) -> str:
        return self.caller.key_id

    def is_live(self, at: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    def public(self) -> dict[str, Any]:
        """Return everything but the digests, for people and scripts."""
        caller = self.caller
        return {
            "id": self.id,
            "name": self.name,
            "tenant": caller.tenant,
            "priority": caller.priority,
            "models": None if caller.models is None else sorted(caller.models),
            "max_concurrency": caller.max_concurrency,
            "requests_per_min": caller.requests_per_min,
            "tokens_per_min": caller.tokens_per_min,
            "monthly_tokens": caller.monthly_tokens,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
        }


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: the only moment in which its text is known."""

    key: StoredKey
    text: str


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """What happened to keys since a revision; `database_id` differs when it is another database altogether."""

    revision: int
    database_id: str
    keys: tuple[StoredKey, ...]


class KeyStore:
    """Makes, finds and ends keys."""

    def __init__(self, database: Database, clock: Clock = now) -> None:
        self._database = database
        self._clock = clock

    def create(self, spec: KeySpec) -> NewKey:
        """Make a key.

        Raises:
            UsageError: its expiry has passed, or there are too many keys.
            StoreError: the database is away.
        """
        at = int(self._clock())
        if spec.expires_at is not None and spec.expires_at <= at:
            raise UsageError("the key would be expired from the start")
        secret = new_secret()
        values: dict[str, Any] = _columns(spec.model_dump()) | {
            "id": secret.key_id,
            "tenant": spec.tenant or secret.key_id,
            "digest": secret.digest,
            "created_at": at,
        }
        with self._database.writing() as connection:
            if (connection.scalar(_live_count(at)) or 0) >= MAX_LIVE_KEYS:
                raise UsageError(f"there are {MAX_LIVE_KEYS} keys already; revoke some")
            connection.execute(insert(KEYS).values(**values, changed=_next_revision(connection)))
        return NewKey(self.find(secret.key_id), secret.text)

    def find(self, name: str) -> StoredKey:
        """Return the key with this id, or the only live one with this name.

        Raises:
            UsageError: there is none, or several have the name.
        """
        with self._database.reading() as connection:
            rows = connection.execute(select(KEYS).where((KEYS.c.id == name) | (KEYS.c.name == name))).mappings().all()
        found = [_stored(row) for row in rows]
        by_id = [key for key in found if key.id == name]
        live = [key for key in found if key.is_live(self._clock())]
        match by_id or live or found:
            case [key]:
                return key
            case []:
                raise UsageError("no such key; `weir keys list` shows them")
            case several:
                raise UsageError(f"{len(several)} keys have that name; use the id: {', '.join(k.id for k in several)}")

    def all(self) -> list[StoredKey]:
        """Return every key that was ever made, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(KEYS).order_by(KEYS.c.changed, KEYS.c.id)).mappings().all()
        return sorted((_stored(row) for row in rows), key=lambda key: (key.created_at, key.id))

    def revoke(self, name: str) -> StoredKey:
        """End a key for good; ending it again changes nothing."""
        key = self.find(name)
        if key.revoked_at is None:
            self._change(key.id, revoked_at=int(self._clock()), old_digest=None, old_until=None)
        return self.find(key.id)

    def rotate(self, name: str, *, grace_s: int = 0) -> NewKey:
        """Give a key another secret; the old one is good for `grace_s` more seconds.

        Raises:
            UsageError: the key is revoked or expired.
        """
        key = self.find(name)
        if not key.is_live(self._clock()):
            raise UsageError(f"{key.id} is revoked or expired; make a new key")
        secret = new_secret(key.id)
        old = (key.digest, int(self._clock()) + grace_s) if grace_s else (None, None)
        self._change(key.id, digest=secret.digest, old_digest=old[0], old_until=old[1])
        return NewKey(self.find(key.id), secret.text)

    def change(self, name: str, **limits: Any) -> StoredKey:
        """Give a key other limits, by their names in `KeySpec`; None is no limit, and what is not named stays.

        Raises:
            UsageError: the key is revoked or expired.
            pydantic.ValidationError: a limit is out of bounds.
        """
        key = self.find(name)
        if not key.is_live(self._clock()):
            raise UsageError(f"{key.id} is revoked or expired; make a new key")
        spec = KeySpec.model_validate({"name": key.name, **limits})
        self._change(key.id, **_columns(spec.model_dump(include=set(limits))))
        return self.find(key.id)

    def changes(self, since: int) -> KeyChanges:
        """Return the keys that changed after revision `since`; cheap when none did."""
        with self._database.reading() as connection:
            revision = connection.execute(select(REVISION)).mappings().one()
            rows: Any = ()
            if revision["number"] != since:
                rows = connection.execute(select(KEYS).where(KEYS.c.changed > since)).mappings().all()
        return KeyChanges(revision["number"], revision["database_id"], tuple(_stored(row) for row in rows))

    def _change(self, key_id: str, **values: Any) -> None:
        with self._database.writing() as connection:
            changed = _next_revision(connection)
            connection.execute(update(KEYS).where(KEYS.c.id == key_id).values(**values, changed=changed))


def _next_revision(connection: Connection) -> int:
    """Return the number of this change. The row stays locked until commit, so numbers appear in their order."""
    connection.execute(update(REVISION).values(number=REVISION.c.number + 1))
    return int(connection.scalar(select(REVISION.c.number)) or 0)


def _columns(spec: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a `KeySpec` as the table has them."""
    models = spec.get("models")
    return spec if models is None else spec | {"models": json.dumps(sorted(models))}


def _live_count(at: int) -> Any:
    is_live = KEYS.c.revoked_at.is_(None) & (KEYS.c.expires_at.is_(None) | (KEYS.c.expires_at > at))
    return select(func.count()).select_from(KEYS).where(is_live)


def _stored(row: RowMapping | Mapping[str, Any]) -> StoredKey:
    return StoredKey(
        caller=Caller(
            key_id=row["id"],
            tenant=row["tenant"],
            priority=row["priority"],
            models=None if row["models"] is None else frozenset(json.loads(row["models"])),
            max_concurrency=row["max_concurrency"],
            requests_per_min=row["requests_per_min"],
            tokens_per_min=row["tokens_per_min"],
            monthly_tokens=row["monthly_tokens"],
            name=row["name"],
        ),
        name=row["name"],
        digest=bytes(row["digest"]),
        old_digest=None if row["old_digest"] is None else bytes(row["old_digest"]),
        old_until=row["old_until"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )
