"""One database: a SQLite file, or PostgreSQL. Everything that it can do wrong leaves here as `StoreError`."""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, Self

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from weir.contracts.errors import UsageError, WeirError
from weir.store.migrate import migrate

# The longest that one statement waits for another process's lock: longer than any honest write takes.
_BUSY_MS: Final = 2000
_BUSY_PAUSE_S: Final = 0.01
_SQLITE: Final = "sqlite"


class StoreError(WeirError):
    """The database is away, locked, full or not ours. The message names no value and no password."""

    code = "store_unavailable"


class Database:
    """Opens, migrates and hands out transactions. Safe to use from several threads and processes."""

    def __init__(self, url: str, *, busy_ms: int = _BUSY_MS) -> None:
        """Connect to nothing yet.

        Args:
            url: `sqlite:///file` or `postgresql://user@host/name`.
            busy_ms: how long to wait for somebody else's lock.

        Raises:
            UsageError: it is neither.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise UsageError("the database is not a URL like sqlite:///FILE or postgresql://USER@HOST/NAME") from None
        self._busy_ms = busy_ms
        self.path = Path(parsed.database) if parsed.get_backend_name() == _SQLITE and parsed.database else None
        self._file: tuple[int, int] | None = None
        if parsed.get_backend_name() == "postgresql":
            self.engine = self._postgres(parsed.set(drivername="postgresql+psycopg"))
        elif self.path is not None:
            self.engine = self._sqlite(self.path)
        else:
            raise UsageError(f"no database of the kind {parsed.get_backend_name()!r}: sqlite or postgresql")

    def open(self) -> None:
        """Create what is missing and bring the tables up to date.

        Raises:
            StoreError: it cannot be reached or written, or a newer Weir made it.
        """
        if self.path is not None:
            self._make_file(self.path)
        with translated():
            migrate(self.engine)
        self._file = self._identity()

    @contextmanager
    def reading(self) -> Generator[Connection, None, None]:
        """A transaction that sees one moment."""
        self._follow_file()
        with translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Generator[Connection, None, None]:
        """A transaction that writes; it is durable when the block has ended without an error."""
        self._follow_file()
        with translated(), self.engine.connect().execution_options(weir_writes=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow_file(self) -> None:
        """Refuse a file that was removed (SQLite would go on with what is unlinked); take one that replaced it.

        Raises:
            StoreError: the file is gone.
        """
        if self._file is None:
            return
        found = self._identity()
        if found is None:
            raise StoreError("the database file is gone")
        if found != self._file:
            self.engine.dispose()
            self._file = found

    def _identity(self) -> tuple[int, int] | None:
        if self.path is None:
            return None
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _make_file(self, path: Path) -> None:
        """Create the file for its owner alone; SQLite gives the files beside it the same mode."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(f"cannot open the database {path}: {error.strerror}") from None

    def _sqlite(self, path: Path) -> Engine:
        engine = create_engine(
            f"sqlite:///{path}", connect_args={"timeout": self._busy_ms / 1000, "check_same_thread": False}
        )
        event.listen(engine, "connect", self._prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _prepare_sqlite(self, connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        del record
        connection.isolation_level = None  # transactions begin where we say (`_begin_sqlite`)
        connection.execute(f"PRAGMA busy_timeout={self._busy_ms}")
        self._to_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")  # a revoked key stays revoked after a power cut

    def _to_wal(self, connection: sqlite3.Connection) -> None:
        """SQLite's busy timeout does not hold for this: of gateways that start together one could be refused."""
        until = monotonic() + self._busy_ms / 1000
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > until:
                    raise
                sleep(_BUSY_PAUSE_S)
            else:
                return

    def _postgres(self, url: Any) -> Engine:
        options = f"-c lock_timeout={self._busy_ms} -c statement_timeout={5 * self._busy_ms}"
        return create_engine(
            url,
            pool_size=3,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 2, "options": options, "application_name": "weir"},
            hide_parameters=True,
        )


@contextmanager
def translated() -> Generator[None, None, None]:
    """Let no error of SQLAlchemy or a driver leave this package: their words quote statements and values."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(f"the database did not do it ({_kind(error)})") from None


def upsert(connection: Connection, statement: str, rows: list[dict[str, Any]]) -> None:
    """Run an `INSERT ... ON CONFLICT`, which both databases spell alike, for many rows."""
    if rows:
        connection.execute(text(statement), rows)


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the lock at once: a reader that turns writer later cannot wait for it."""
    writes = connection.get_execution_options().get("weir_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _kind(error: Exception) -> str:
    """Name an error in a way that holds nothing of a statement."""
    cause = getattr(error, "orig", None) or error
    name = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    return f"{type(cause).__name__} {name}" if name else type(cause).__name__
