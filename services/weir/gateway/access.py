"""Keys, limits, usage and audit of one gateway process, put together."""

import asyncio
import logging
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from weir.asgi.hosts import is_loopback
from weir.contracts.caller import Caller
from weir.contracts.errors import UsageError
from weir.gateway.context import ContextReader
from weir.gateway.keyring import Keyring
from weir.gateway.quotas import StoreLedger
from weir.gateway.recording import Journal
from weir.gateway.settings_access import AccessSettings
from weir.store.database import Database, StoreError
from weir.store.keys import KeyStore
from weir.store.limits import LimitStore, MemoryLimits
from weir.store.records import RecordStore
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_DEFAULT_HOME = Path(".weir")  # where `weir keys` looks by itself
_SHORTEST_AUDIT_KEY = 16


class Access:
    """Works between `start` and `aclose`. Without a database (tests, embedding) everybody is `ANYONE`."""

    def __init__(
        self, keyring: Keyring, journal: Journal, ledger: StoreLedger, database: Database | None = None
    ) -> None:
        self.keyring = keyring
        self.journal = journal
        self.ledger = ledger
        self.reader = ContextReader(keyring)
        self.keys = None if database is None else KeyStore(database)
        self.records = None if database is None else RecordStore(database)
        self._database = database
        # Threads of its own: a database that hangs must not take those that tokenise long prompts. One each, so that a
        # write that waits for a lock does not hold up the news that a key was revoked.
        self._executors: tuple[ThreadPoolExecutor, ...] = ()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def without_store(cls, metrics: GatewayMetrics) -> "Access":
        """Everybody may do everything, and nothing is written down."""
        journal = Journal(metrics)
        return cls(Keyring(metrics), journal, StoreLedger(MemoryLimits(), journal, metrics))

    @classmethod
    def open(cls, settings: AccessSettings, metrics: GatewayMetrics, *, home: Path, host: str) -> "Access":
        """Open the database and read all keys.

        Raises:
            UsageError: nobody has a key or the admin token and the address is public; or a setting is wrong.
            StoreError: the database cannot be reached, and `fail_open` is off.
        """
        is_local = is_loopback(host)
        keyring = Keyring(
            metrics,
            lets_anyone_in=settings.allow_anonymous,
            opens_when_empty=is_local or settings.allow_anonymous,
            fails_open=settings.fail_open,
        )
        journal = Journal(metrics, _audit_key(settings, home), audit_days=settings.audit_days)
        ledger = StoreLedger(_limit_store(settings), journal, metrics, fails_open=settings.fail_open)
        access = cls(keyring, journal, ledger, Database(database_url(settings, home)))
        access._load(fails_open=settings.fail_open)
        if keyring.has_keys or keyring.is_away or is_local or settings.allow_anonymous:
            return access
        if (
            settings.admin_token is not None
        ):  # whoever has it makes keys over the admin port; until then nobody is let in
            _log.warning("nobody_has_a_key", extra={"cure": "POST /admin/keys, or `weir keys create NAME`"})
            return access
        access._close()
        raise _nobody(host, home)

    def _load(self, *, fails_open: bool) -> None:
        if self._database is None or self.keys is None or self.records is None:
            return
        try:
            self._database.open()
            self.keyring.load(self.keyring.read(self.keys))
            self.journal.load_spent(self.records, self.keyring.callers)
        except StoreError as error:
            if not fails_open:
                self._close()
                raise
            self.keyring.found_away(str(error))

    async def start(self) -> None:
        if self.keys is None or self.records is None:
            return
        self._executors = tuple(
            ThreadPoolExecutor(1, thread_name_prefix=f"weir-{name}") for name in ("keys", "records")
        )
        self._tasks = [
            asyncio.create_task(self.keyring.follow(self.keys, self._executors[0])),
            asyncio.create_task(self.journal.keep(self.records, self._executors[1])),
        ]

    async def aclose(self) -> None:
        """Write down what is left and let go of everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.records is not None and self._executors:
            await self.journal.finish(self.records, self._executors[1])
        await self.ledger.aclose()
        for executor in self._executors:
            await asyncio.to_thread(executor.shutdown)  # a statement ends by itself: see `Database`
        self._close()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()

    async def admit(self, caller: Caller) -> None:
        """Count one request against its key; see `StoreLedger.admit`."""
        if caller.requests_per_min is not None or caller.monthly_tokens is not None:
            await self.ledger.admit(caller)


def require_callers(settings: AccessSettings, home: Path, host: str) -> None:
    """For those who have much to do before they start a gateway.

    Raises:
        UsageError: it would not start on `host`, because nobody has a key.
    """
    is_open = settings.allow_anonymous or settings.admin_token is not None or is_loopback(host)
    if not (is_open or keys_were_made(settings, home)):
        raise _nobody(host, home)


def keys_were_made(settings: AccessSettings, home: Path) -> bool:
    """Whether a gateway over this database asks for a key, unless it is told to serve everybody."""
    with Database(database_url(settings, home)) as database:
        return bool(KeyStore(database).changes(-1).revision)


def _nobody(host: str, home: Path) -> UsageError:
    where = "" if home == _DEFAULT_HOME else f" --home {home}"
    return UsageError(
        f"nobody has a key yet, and {host} can be reached by others: make one with `weir keys create NAME{where}`, "
        "or start with --allow-anonymous to serve everybody"
    )


def warn_of_split_limits(settings: AccessSettings, home: Path, *, workers: int) -> None:
    """Log it when several processes will count by themselves what a key may use per minute or at once."""
    url = database_url(settings, home)
    is_shared = workers > 1 or not url.startswith("sqlite")
    if not is_shared or settings.redis is not None:
        return
    try:
        with Database(url) as database:
            keys = KeyStore(database).all()
    except StoreError:
        return  # who opens it next says so
    limited = [key for key in keys if key.revoked_at is None and _counts_in_memory(key.caller)]
    if limited:
        _log.warning("limits_counted_per_process", extra={"keys": len(limited), "cure": "access.redis"})


def _counts_in_memory(caller: Caller) -> bool:
    return caller.requests_per_min is not None or caller.tokens_per_min is not None


def database_url(settings: AccessSettings, home: Path) -> str:
    if settings.database is not None:
        return settings.database.get_secret_value()
    return f"sqlite:///{home / 'gateway.sqlite'}"


def _limit_store(settings: AccessSettings) -> LimitStore:
    if settings.redis is None:
        return MemoryLimits()
    try:
        from weir.store.redis_limits import RedisLimits  # an extra that most gateways do without
    except ModuleNotFoundError:
        raise UsageError("`access.redis` needs: pip install 'weir[redis]'") from None
    try:
        return RedisLimits(settings.redis.get_secret_value())
    except ValueError:
        raise UsageError("`access.redis` is not a URL like redis://HOST:6379/0") from None


def _audit_key(settings: AccessSettings, home: Path) -> bytes:
    """Return the key of the audit's HMACs: kept beside the database, so that its rows alone give nothing away."""
    if not settings.audit_days:
        return b""
    path = settings.audit_key_file or home / "audit.key"
    try:
        if settings.audit_key_file is None:
            _make_once(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"cannot read the audit key {path}: {error.strerror}") from None
    if len(key) < _SHORTEST_AUDIT_KEY:
        raise UsageError(f"the audit key {path} is shorter than {_SHORTEST_AUDIT_KEY} bytes")
    return key


def _make_once(path: Path) -> None:
    """Make the key if there is none; of several processes that start together, one makes it, whole."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # somebody was faster: his key is as good
    finally:
        draft.unlink()
