"""All live keys in memory: who asks is known without a database, and a revoked key is out within a second."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from weir.contracts.caller import ANYONE, Caller
from weir.gateway.denials import KeysAwayError, NoKeyError, WrongKeyError
from weir.store.database import StoreError
from weir.store.key_text import LENGTH, id_in, is_well_formed
from weir.store.keys import KeyChanges, KeyStore, StoredKey, now
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_POLL_S: Final = 0.5


class Keyring:
    """Without a store everybody is `ANYONE`.

    `lets_anyone_in`: callers without a key are served also when there are keys.
    `opens_when_empty`: and when no key was ever made. Once a key was seen, it stays shut until the process ends.
    `fails_open`: a key that was never seen is taken at its word while the database is away.
    """

    def __init__(
        self,
        metrics: GatewayMetrics,
        *,
        lets_anyone_in: bool = False,
        opens_when_empty: bool = True,
        fails_open: bool = False,
        clock: Callable[[], float] = now,
    ) -> None:
        self._metrics = metrics
        self._lets_anyone_in = lets_anyone_in
        self._opens_when_empty = opens_when_empty
        self._fails_open = fails_open
        self._clock = clock
        self._keys: dict[str, StoredKey] = {}
        self._revision, self._database_id = -1, ""
        self.has_keys = False
        self.is_away = False

    @property
    def callers(self) -> list[Caller]:
        return [key.caller for key in self._keys.values()]

    @property
    def needs_key(self) -> bool:
        """Whether callers without a key are refused."""
        return not (self._lets_anyone_in or (self._opens_when_empty and not self.has_keys))

    def identify(self, key: bytes | None) -> Caller:
        """Return who has this key, in about a microsecond.

        Raises:
            KeyRefusedError: nobody.
            KeysAwayError: perhaps somebody, but the database is away.
        """
        if key is not None and len(key) == LENGTH:
            stored = self._keys.get(id_in(key))
            if stored is not None:
                digest = sha256(key).digest()
                if compare_digest(digest, stored.digest) or self._is_old(stored, digest):
                    if stored.expires_at is None or self._clock() < stored.expires_at:
                        self._metrics.auth("key").inc()
                        return stored.caller
                    self._metrics.auth("expired").inc()
                    raise WrongKeyError("it has expired")
        return self._stranger(key)

    def load(self, changes: KeyChanges) -> None:
        """Take over what changed."""
        if changes.database_id != self._database_id:
            self._keys.clear()
            self._database_id = changes.database_id
        for key in changes.keys:
            if key.is_live(self._clock()):
                self._keys[key.id] = key
            else:
                self._keys.pop(key.id, None)
        self._revision = changes.revision
        self.has_keys = self.has_keys or bool(changes.revision)

    def read(self, store: KeyStore) -> KeyChanges:
        """Ask the database for what is new; called from another thread.

        Raises:
            StoreError: it is away.
        """
        changes = store.changes(self._revision)
        is_other = changes.database_id != self._database_id or changes.revision < self._revision
        return store.changes(-1) if is_other and self._revision >= 0 else changes

    async def follow(self, store: KeyStore, executor: Executor) -> None:
        """Keep up with the database until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                changes = await loop.run_in_executor(executor, self.read, store)
            except StoreError as error:
                self.found_away(str(error))
            else:
                self.load(changes)
                self.is_away = False
                self._metrics.store_up("database").set(1)

    def found_away(self, why: str) -> None:
        if not self.is_away:
            _log.error("database_away", extra={"reason": why, "known_keys": len(self._keys)})
        self.is_away = True
        self._metrics.store_up("database").set(0)

    def _is_old(self, stored: StoredKey, digest: bytes) -> bool:
        """Whether it is the secret before a rotation, in its time of grace."""
        old, until = stored.old_digest, stored.old_until
        return old is not None and until is not None and compare_digest(digest, old) and self._clock() < until

    def _stranger(self, key: bytes | None) -> Caller:
        is_ours = key is not None and key.startswith(b"wk_")
        if (self._lets_anyone_in and not is_ours) or (self._opens_when_empty and not self.has_keys):
            self._metrics.auth("anyone").inc()
            return ANYONE
        if key is None:
            self._metrics.auth("missing").inc()
            raise NoKeyError
        if not is_well_formed(key):
            self._metrics.auth("malformed").inc()
            raise WrongKeyError("it is not one of Weir's, or has a typing error")
        if self.is_away and id_in(key) not in self._keys:
            if self._fails_open:
                self._metrics.auth("unchecked").inc()
                return Caller(id_in(key), id_in(key))
            self._metrics.auth("away").inc()
            raise KeysAwayError
        self._metrics.auth("unknown").inc()
        raise WrongKeyError("it does not exist or was revoked")
