"""One plain HTTP question, for checks that depend on nothing else."""

import http.client
import ssl
from contextlib import closing
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_TIMEOUT_S: Final = 3.0
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """`date` is the header's text, as the other side's clock says."""

    status: int
    body: bytes
    date: str | None


def asked(url: str) -> Answer:
    """GET; redirects are not followed.

    Raises:
        OSError, http.client.HTTPException: there is no answer.
    """
    parts = urlsplit(url)
    host, path = parts.hostname or "", parts.path or "/"
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=_TIMEOUT_S, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read(_MOST_BYTES), response.getheader("date"))
