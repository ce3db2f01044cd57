"""Web pages that ask the gateway: which of them a browser lets read its answers (CORS, in the Fetch standard)."""

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware

from weir.asgi.hosts import is_loopback
from weir.asgi.types import App, Headers, Scope

ANY_ORIGIN: Final = "*"
_REMEMBERED_S: Final = 600  # by browsers, of what was said about a path


class Pages(CORSMiddleware):
    """Answers browsers' questions beforehand, and says in every answer to a page whether it may read that.

    Where callers need a key, pages of any origin may ask: they must have one, and cookies mean nothing here. Where
    anybody is served, any page that somebody happens to open could use his machine: there only pages of this machine
    may. `origins`, if there are any, are said instead; `*`: all.
    """

    def __init__(self, app: App, origins: Sequence[str], needs_key: Callable[[], bool]) -> None:
        super().__init__(
            app,
            allow_origins=[] if ANY_ORIGIN in origins else origins,
            allow_methods=("GET", "POST"),
            allow_headers=(ANY_ORIGIN,),
            expose_headers=(ANY_ORIGIN,),
            max_age=_REMEMBERED_S,
        )
        self._needs_key = needs_key if not origins else lambda: ANY_ORIGIN in origins

    def is_allowed_origin(self, origin: str) -> bool:
        if self.allow_origins:
            return super().is_allowed_origin(origin)
        return self._needs_key() or _is_of_this_machine(origin)

    def headers_for(self, origin: str) -> Headers:
        """Return what an answer tells a page that asked in vain before it got here."""
        headers = MutableHeaders(self.simple_headers)
        if self.is_allowed_origin(origin):
            self.allow_explicit_origin(headers, origin)
        else:
            headers["Vary"] = "Origin"
        return headers.raw


def is_from_page(scope: Scope) -> bool:
    """Whether a browser says for which page it asks."""
    for name, _ in scope["headers"]:  # noqa: SIM110 - of every request: a generator takes thrice the time
        if name == b"origin":
            return True
    return False


def origin_of(scope: Scope) -> str | None:
    """Return the page's origin, as a browser says it."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None)


def _is_of_this_machine(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        return False
    return host is not None and is_loopback(host)
