"""The database: the same promises on SQLite and on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pydantic
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, text
from tests.support.stores import database, postgres_url, url

from weir.contracts.errors import UsageError
from weir.store.database import Database, StoreError
from weir.store.key_text import digest_of
from weir.store.keys import KeySpec, KeyStore
from weir.store.records import AuditRow, RecordStore, UsageSlot, Used
from weir.store.schema import METADATA

__all__ = ["database", "postgres_url", "url"]

ROW = AuditRow(1000, "r-1", "k_1", "t", "/generate", "faq", 1, "cpu", 200, "", None, 3, 4, 12, "ab", "cd")
SLOT = UsageSlot("k_1", "faq", "2026-11-25")


def open_and_close(url: str) -> None:
    with Database(url):
        pass


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(database: Database, clock: Clock) -> KeyStore:
    return KeyStore(database, clock)


@pytest.fixture
def records(database: Database) -> RecordStore:
    return RecordStore(database)


def test_the_migrations_make_the_tables_that_the_code_expects(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_gateways_that_start_together_migrate_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: open_and_close(url), range(4)))
    with Database(url) as database:
        assert KeyStore(database).changes(-1).revision == 0


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '999'"))
    with pytest.raises(UsageError, match="newer version"):
        database.open()


def test_a_key_is_stored_as_a_hash_with_what_it_allows(keys: KeyStore, database: Database) -> None:
    spec = KeySpec(name="billing bot", tenant="acme", models=("faq", "b"), tokens_per_min=100, monthly_tokens=10**12)

    made = keys.create(spec)

    found = keys.find("billing bot")
    assert found == keys.find(made.key.id)
    assert found.digest == digest_of(made.text.encode())
    assert found.caller.models == {"faq", "b"}
    assert (found.caller.tenant, found.caller.tokens_per_min, found.caller.monthly_tokens) == ("acme", 100, 10**12)
    with database.reading() as connection:
        stored = repr(connection.execute(text("SELECT * FROM keys")).all())
    assert made.text not in stored
    assert made.text[16:] not in stored
    assert repr(found.digest) not in repr(found)


def test_every_change_is_seen_once_by_those_who_ask_for_what_is_new(keys: KeyStore) -> None:
    first, second = keys.create(KeySpec(name="a")), keys.create(KeySpec(name="b"))
    seen = keys.changes(-1)
    assert [key.id for key in seen.keys] == [first.key.id, second.key.id]
    assert keys.changes(seen.revision).keys == ()

    keys.revoke("a")

    (changed,) = keys.changes(seen.revision).keys
    assert changed.id == first.key.id
    assert changed.revoked_at == 1_000_000


def test_keys_that_are_made_at_the_same_time_all_appear(url: str, database: Database) -> None:
    def create(number: int) -> str:
        with Database(url) as own:
            return KeyStore(own).create(KeySpec(name=f"key {number}")).key.id

    seen: set[str] = set()
    revision, done = -1, threading.Event()

    def follow() -> None:
        nonlocal revision
        store = KeyStore(database)
        while True:
            is_last = done.is_set()
            changes = store.changes(revision)
            seen.update(key.id for key in changes.keys)
            revision = changes.revision
            if is_last:
                return

    follower = threading.Thread(target=follow)
    follower.start()
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(create, range(12)))
    done.set()
    follower.join()
    assert seen == made
    assert revision == 12


def test_a_rotated_key_keeps_its_id_and_for_a_while_its_old_secret(keys: KeyStore, clock: Clock) -> None:
    old = keys.create(KeySpec(name="a"))

    new = keys.rotate("a", grace_s=60)

    assert new.key.id == old.key.id
    assert new.text != old.text
    assert new.key.old_digest == digest_of(old.text.encode())
    assert new.key.old_until == clock.now + 60
    assert keys.rotate("a").key.old_digest is None
    keys.revoke("a")
    with pytest.raises(UsageError, match="revoked or expired"):
        keys.rotate("a")


def test_a_key_gets_other_limits_and_keeps_the_rest(keys: KeyStore) -> None:
    spec = KeySpec(name="a", tenant="acme", models=("faq",), requests_per_min=5, tokens_per_min=100, priority=2)
    made = keys.create(spec)
    seen = keys.changes(-1).revision

    changed = keys.change("a", requests_per_min=50, tokens_per_min=None)

    assert changed.caller == replace(made.key.caller, requests_per_min=50, tokens_per_min=None)
    assert (changed.digest, changed.expires_at) == (made.key.digest, made.key.expires_at)
    assert [key.caller for key in keys.changes(seen).keys] == [changed.caller]
    with pytest.raises(pydantic.ValidationError):
        keys.change("a", priority=11)
    keys.revoke("a")
    with pytest.raises(UsageError, match="revoked or expired"):
        keys.change("a", priority=1)


def test_wrong_orders_are_answered_with_what_to_do(keys: KeyStore, clock: Clock) -> None:
    with pytest.raises(UsageError, match="weir keys list"):
        keys.find("nobody")
    with pytest.raises(UsageError, match="expired from the start"):
        keys.create(KeySpec(name="a", expires_at=int(clock.now)))
    keys.create(KeySpec(name="twice"))
    keys.create(KeySpec(name="twice"))
    with pytest.raises(UsageError, match="2 keys have that name; use the id: k_"):
        keys.revoke("twice")


def test_usage_adds_up_per_day_and_month(records: RecordStore) -> None:
    other_day = SLOT._replace(day="2026-11-26")
    records.write({SLOT: Used(1, 10, 20), other_day: Used(2, 1, 1)}, [])
    records.write({SLOT: Used(1, 5, 5), SLOT._replace(key_id="k_2", day="2026-12-01"): Used(1, 7, 0)}, [])

    assert records.usage(key_id="k_1") == [
        {
            "key_id": "k_1",
            "model": "faq",
            "day": "2026-11-25",
            "requests": 2,
            "prompt_tokens": 15,
            "generated_tokens": 25,
        },
        {
            "key_id": "k_1",
            "model": "faq",
            "day": "2026-11-26",
            "requests": 2,
            "prompt_tokens": 1,
            "generated_tokens": 1,
        },
    ]
    assert [(row["month"], row["requests"]) for row in records.usage(by="month")] == [("2026-11", 4), ("2026-12", 1)]
    assert records.usage(since_day="2026-12-01")[0]["key_id"] == "k_2"
    assert records.spent(["k_1", "k_2"], "2026-11") == {"k_1": 42}


def test_several_writers_lose_nothing(url: str, database: Database) -> None:
    def write(number: int) -> None:
        with Database(url) as own:
            for _ in range(10):
                slots = [SLOT._replace(key_id=f"k_{n}") for n in range(5)]
                RecordStore(own).write({slot: Used(1, 1, 1) for slot in (slots if number % 2 else slots[::-1])}, [ROW])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))

    records = RecordStore(database)
    assert [row["requests"] for row in records.usage()] == [40] * 5
    assert records.spent([f"k_{n}" for n in range(5)], "2026-11") == {f"k_{n}": 80 for n in range(5)}
    assert len(list(records.audit())) == 40


def test_audit_rows_come_back_in_order_and_old_ones_go(records: RecordStore) -> None:
    rows = [ROW._replace(at_ms=1000 * number, request_id=f"r-{number}") for number in range(1200)]
    records.write({}, rows)

    assert [row["request_id"] for row in records.audit()] == [row.request_id for row in rows]
    assert [row["at_ms"] for row in records.audit(since_ms=1_198_000)] == [1_198_000, 1_199_000]
    after = records.newest_audit_id(back=2)
    assert [row["request_id"] for row in records.audit(after_id=after)] == ["r-1198", "r-1199"]
    assert list(records.audit(key_id="k_other")) == []
    assert records.prune_audit(1_000_000, at_most=600) == 600
    assert records.prune_audit(1_000_000) == 400
    assert records.prune_audit(1_000_000) == 0
    assert len(list(records.audit())) == 200


def test_an_error_of_the_database_quotes_no_value(records: RecordStore) -> None:
    with pytest.raises(StoreError) as caught:
        records.write({}, [ROW._replace(request_id=None)])  # type: ignore[arg-type]
    assert "k_1" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert list(records.audit()) == []


def test_a_file_that_is_gone_is_noticed_and_one_in_its_place_is_taken(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "gateway.sqlite"
    database = Database(f"sqlite:///{path}")
    database.open()
    request.addfinalizer(database.close)
    assert path.stat().st_mode & 0o077 == 0
    first = KeyStore(database).changes(-1).database_id
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        (tmp_path / name).unlink(missing_ok=True)

    with pytest.raises(StoreError, match="gone"):
        KeyStore(database).changes(-1)

    open_and_close(f"sqlite:///{path}")
    assert KeyStore(database).changes(-1).database_id != first


def test_a_locked_and_a_full_file_are_named_and_lose_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gateway.sqlite'}"
    with Database(url) as locker, Database(url, busy_ms=50) as database:
        with locker.writing(), pytest.raises(StoreError, match="SQLITE_BUSY"):
            RecordStore(database).write({SLOT: Used(1, 1, 1)}, [])

        full = Database(url)
        event.listen(full.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=1"))
        with pytest.raises(StoreError, match="SQLITE_FULL"):
            RecordStore(full).write({SLOT: Used(1, 1, 1)}, [ROW._replace(verdicts="x" * 4000)] * 200)
        full.close()
        assert RecordStore(database).usage() == []


@pytest.mark.parametrize("wrong", ["nonsense", "mysql://h/x", "sqlite://"])
def test_a_url_of_another_kind_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="sqlite"):
        Database(wrong)


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    database = Database("postgresql://weir:hush-hush@127.0.0.1:1/none")
    with pytest.raises(StoreError) as caught:
        database.open()
    assert "hush" not in str(caught.value)
