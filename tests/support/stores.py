"""Databases for tests: every test that asks for `url` runs on SQLite and on PostgreSQL."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.servers import postgres
from weir.store.database import Database


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'gateway.sqlite'}"
        return
    found = request.getfixturevalue("postgres_url")
    database = Database(found)
    with database.writing() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    database.close()
    yield found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    opened.open()
    yield opened
    opened.close()
