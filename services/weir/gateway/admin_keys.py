"""`/admin/keys` and `/admin/usage`: what `weir keys` does, for programs. Mounted on the admin port, nowhere else."""

from hmac import compare_digest
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from weir.asgi.hosts import is_loopback
from weir.asgi.types import Receive, Scope, Send
from weir.contracts.errors import UsageError, WeirError
from weir.gateway.access import database_url
from weir.gateway.settings_access import AccessSettings
from weir.store.database import Database, StoreError
from weir.store.keys import KeySpec, KeyStore, NewKey
from weir.store.records import RecordStore

GraceS = Annotated[int, Query(ge=0, le=90 * 86_400, description="seconds for which the old secret goes on working")]
SinceDay = Annotated[str, Query(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class AdminKeys:
    """The ASGI app. With a token, whoever has it; without one, callers on this machine that are no web page."""

    def __init__(self, database: Database, token: SecretStr | None) -> None:
        self._token = None if token is None else token.get_secret_value().encode()
        self._api = _api(KeyStore(database), RecordStore(database))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self.may(scope):
            await self._api(scope, receive, send)
            return
        reply = JSONResponse({"error": self._what_to_do()}, HTTPStatus.UNAUTHORIZED, {"www-authenticate": "Bearer"})
        await reply(scope, receive, send)

    def may(self, scope: Scope) -> bool:
        """Whether who sent this request is an operator."""
        headers = dict(scope["headers"])
        if self._token is not None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            return scheme.lower() == b"bearer" and compare_digest(given.strip(), self._token)
        # A page in a browser on this machine could call too: under its own name (DNS rebinding), or naming its origin.
        host, _, _ = headers.get(b"host", b"").decode("latin-1").rpartition(":")
        client = scope.get("client")
        return client is not None and is_loopback(client[0]) and is_loopback(host) and b"origin" not in headers

    def _what_to_do(self) -> str:
        if self._token is not None:
            return "send the admin token as `Authorization: Bearer TOKEN`"
        return "only callers on the same machine may do this; `access.admin_token` lets others in"


def admin_keys(settings: AccessSettings, home: Path) -> AdminKeys:
    """Build the app; the gateway beside it makes the tables, and nothing is opened before the first request."""
    return AdminKeys(Database(database_url(settings, home)), settings.admin_token)


def _api(keys: KeyStore, records: RecordStore) -> FastAPI:
    api = FastAPI(title="Weir admin", docs_url=None, redoc_url=None, openapi_url="/admin/openapi.json")
    api.add_exception_handler(WeirError, _failed)
    _add_keys(api, keys)

    @api.get("/admin/usage")
    def usage(
        key: str | None = None, by: Literal["day", "month"] = "day", since: SinceDay = "1970-01-01"
    ) -> list[dict[str, Any]]:
        """Requests and tokens per key, model and day or month."""
        return records.usage(key_id=key, since_day=since, by=by)

    return api


def _add_keys(api: FastAPI, keys: KeyStore) -> None:
    @api.get("/admin/keys")
    def list_keys() -> list[dict[str, Any]]:
        """Every key that was ever made; never its text."""
        return [key.public() for key in keys.all()]

    @api.post("/admin/keys", status_code=HTTPStatus.CREATED)
    def create(spec: KeySpec) -> dict[str, Any]:
        """Make a key; the field `key` of the reply is the only time its text is shown."""
        return _shown(keys.create(spec))

    @api.get("/admin/keys/{key_id}")
    def show(key_id: str) -> dict[str, Any]:
        return keys.find(key_id).public()

    @api.delete("/admin/keys/{key_id}")
    def revoke(key_id: str) -> dict[str, Any]:
        """End it for good."""
        return keys.revoke(key_id).public()

    @api.post("/admin/keys/{key_id}/rotate")
    def rotate(key_id: str, grace_s: GraceS = 0) -> dict[str, Any]:
        """Give it another secret, shown this once."""
        return _shown(keys.rotate(key_id, grace_s=grace_s))


def _shown(made: NewKey) -> dict[str, Any]:
    return made.key.public() | {"key": made.text}


async def _failed(request: Request, error: Exception) -> JSONResponse:
    del request
    match error:
        case StoreError():
            status = HTTPStatus.SERVICE_UNAVAILABLE
        case UsageError() if "no such key" in str(error):
            status = HTTPStatus.NOT_FOUND
        case _:
            status = HTTPStatus.CONFLICT
    return JSONResponse({"error": str(error)}, status)
