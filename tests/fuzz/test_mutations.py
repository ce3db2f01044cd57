"""Bodies next to the right ones: a clear refusal or an answer, never a fault and never silence."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.fuzz.conftest import MUTATED_SHARE, Target
from tests.fuzz.mutations import BODIES, mutated

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
DEADLINE_S = 15.0
INTENDED = {503, 504}  # 504: the request named a deadline, and it has passed


def test_mutated_bodies_are_answered_or_refused(target: Target) -> None:
    dice = target.dice("mutated bodies")
    cases = []
    for number in range(int(target.cases * MUTATED_SHARE)):
        path = list(BODIES)[number % len(BODIES)]
        cases.append((path, mutated(BODIES[path], dice)))
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda case: _status(target, *case), cases))

    faults = [
        (status, path, body[:600])
        for status, (path, body) in zip(statuses, cases, strict=True)
        if isinstance(status, str) or (status >= 500 and status not in INTENDED)
    ]
    print({status: statuses.count(status) for status in sorted(set(statuses), key=str)})
    assert faults == []
    assert 200 in statuses
    target.check()


def _status(target: Target, path: str, body: bytes) -> int | str:
    """Return the status, or what went wrong instead of one; a stream is read to its end."""
    with closing(http.client.HTTPConnection("127.0.0.1", target.server.port, timeout=DEADLINE_S)) as connection:
        try:
            connection.request("POST", path, body, {"content-type": "application/json"})
            response = connection.getresponse()
            said = response.read()
        except TimeoutError:
            return "no answer in time"
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}"
    if response.status >= 400 and not _is_error_body(said):
        return f"{response.status} without an error body: {said[:200]!r}"
    return response.status


def _is_error_body(said: bytes) -> bool:
    try:
        body = json.loads(said)
    except ValueError:
        return False
    return isinstance(body, dict) and bool(body.get("error"))
