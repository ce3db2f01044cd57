"""Brings a database's tables to what this version of Weir expects."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from weir.contracts.errors import UsageError

_ADVISORY_LOCK: Final = 0x57454952  # any number that is ours alone


def migrate(engine: Engine) -> None:
    """Apply what is missing; gateways that start together do it one after the other.

    Raises:
        UsageError: the database was made by a newer Weir.
    """
    script = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    with engine.connect() as connection:
        if _revision(connection) == script.get_current_head():
            return
    with engine.connect().execution_options(weir_writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL lock_timeout = '30s'"))
            connection.execute(text("SET LOCAL statement_timeout = '60s'"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise UsageError("the database was made by a newer version of Weir") from None


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
