"""Keys and usage over HTTP: who may, and what it says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.support.asgi import ask

from weir.gateway.admin_keys import AdminKeys
from weir.store.database import Database
from weir.store.key_text import digest_of
from weir.store.keys import KeyStore
from weir.store.records import RecordStore, UsageSlot, Used

HERE = {"host": "127.0.0.1:8081"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'gateway.sqlite'}") as opened:
        yield opened


async def test_a_program_makes_shows_rotates_and_revokes_keys(database: Database) -> None:
    admin = AdminKeys(database, None)

    status, made = await ask(admin, "POST", "/admin/keys", {"name": "bot", "requests_per_min": 5}, HERE)
    assert status == 201
    assert KeyStore(database).find("bot").digest == digest_of(made["key"].encode())

    _, listed = await ask(admin, "GET", "/admin/keys", None, HERE)
    assert [(key["name"], key["requests_per_min"], "key" in key) for key in listed] == [("bot", 5, False)]
    path = f"/admin/keys/{made['id']}"
    assert (await ask(admin, "GET", path, None, HERE))[1]["name"] == "bot"
    _, rotated = await ask(admin, "POST", f"{path}/rotate?grace_s=60", None, HERE)
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]
    assert (await ask(admin, "DELETE", path, None, HERE))[1]["revoked_at"]
    assert (await ask(admin, "POST", f"{path}/rotate", None, HERE))[0] == 409
    assert (await ask(admin, "GET", "/admin/keys/k_none", None, HERE))[0] == 404
    assert (await ask(admin, "POST", "/admin/keys", {"name": "x", "priority": 99}, HERE))[0] == 422


async def test_usage_is_told_per_month(database: Database) -> None:
    RecordStore(database).write({UsageSlot("k_1", "faq", "2026-11-25"): Used(1, 2, 3)}, [])
    _, rows = await ask(AdminKeys(database, None), "GET", "/admin/usage?by=month&key=k_1", None, HERE)
    assert rows == [
        {"key_id": "k_1", "model": "faq", "month": "2026-11", "requests": 1, "prompt_tokens": 2, "generated_tokens": 3}
    ]


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("10.0.0.9", HERE),
        ("127.0.0.1", {"host": "rebound.example:8081"}),
        ("127.0.0.1", {**HERE, "origin": "http://page.example"}),
        ("127.0.0.1", {}),
    ],
)
async def test_without_a_token_only_this_machine_and_no_web_page_may(
    database: Database, client: str, headers: dict[str, str]
) -> None:
    status, reply = await ask(AdminKeys(database, None), "GET", "/admin/keys", None, headers, client=client)
    assert status == 401
    assert "admin_token" in reply["error"]


async def test_a_token_lets_others_in_and_nobody_without_it(database: Database) -> None:
    admin = AdminKeys(database, SecretStr("a-long-admin-token"))

    async def status(**headers: Any) -> int:
        return (await ask(admin, "GET", "/admin/keys", None, headers, client="10.0.0.9"))[0]

    assert await status(authorization="Bearer a-long-admin-token") == 200
    assert await status(authorization="Bearer a-long-admin-tokeN") == 401
    assert await status() == 401
    assert (await ask(admin, "GET", "/admin/keys", None, HERE))[0] == 401


async def test_a_database_that_is_away_is_503(database: Database, tmp_path: Path) -> None:
    admin = AdminKeys(database, None)
    (tmp_path / "gateway.sqlite").unlink()
    assert (await ask(admin, "GET", "/admin/keys", None, HERE))[0] == 503
