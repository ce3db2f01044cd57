"""How a database is, for whoever only looks: nothing is made and nothing migrated."""

from pathlib import Path
from typing import Literal, NamedTuple

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select

from weir.store.database import Database, StoreError, translated
from weir.store.schema import KEYS

_MIGRATIONS = Path(__file__).parent / "migrations"


class DatabaseState(NamedTuple):
    """`absent`: there is no file yet; `empty`: there are no tables; `behind`: older ones. `keys`: not revoked."""

    tables: Literal["absent", "empty", "behind", "current", "newer"]
    keys: int = 0


def database_state(url: str) -> DatabaseState:
    """Look at a database.

    Raises:
        UsageError: `url` names none.
        StoreError: it cannot be reached.
    """
    database = Database(url)
    if database.path is not None and not database.path.exists():
        return DatabaseState("absent")
    script = ScriptDirectory(str(_MIGRATIONS))
    known = {revision.revision for revision in script.walk_revisions()}
    try:
        with translated(), database.engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
            if revision is None:
                return DatabaseState("empty")
            if revision not in known:
                return DatabaseState("newer")
            keys = connection.scalar(select(func.count()).select_from(KEYS).where(KEYS.c.revoked_at.is_(None))) or 0
            return DatabaseState("current" if revision == script.get_current_head() else "behind", keys)
    finally:
        database.close()


def reach_redis(url: str, *, timeout_s: float) -> None:
    """Ask a Redis whether it is there.

    Raises:
        StoreError: it is not, or does not let us in; the message holds no password.
    """
    try:
        from redis import Redis  # an extra that most gateways do without
        from redis.exceptions import RedisError
    except ModuleNotFoundError:
        raise StoreError("the package redis is not installed") from None
    try:
        with Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s) as client:
            client.ping()
    except (RedisError, ValueError, OSError) as error:
        raise StoreError(f"Redis does not answer ({type(error).__name__})") from None
