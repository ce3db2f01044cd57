"""Web pages that ask a gateway: what browsers are told on every route, in streams and in errors."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.support.gateway import Gateway, Reply, Stage, answer, asked, build_app, gateway, running

from weir.asgi.limits import ConnectionLimits
from weir.gateway.settings_edge import EdgeSettings
from weir.store.database import Database
from weir.store.keys import KeySpec, KeyStore

ELSEWHERE = "https://chat.example"
HERE = ("http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:8000")
ASK = {"inputs": "hi", "parameters": {"max_new_tokens": 5}}
ALLOWED = "access-control-allow-origin"


@pytest.fixture
def open_to_all(stage: Stage, release: Path) -> Iterator[Gateway]:
    with gateway(release, stage.backend) as running:
        yield running


@pytest.fixture
def keyed(stage: Stage, release: Path, tmp_path: Path) -> Iterator[tuple[Gateway, str]]:
    """A gateway that wants a key, and the key."""
    url = f"sqlite:///{tmp_path / 'keys.sqlite'}"
    with Database(url) as database:
        key = KeyStore(database).create(KeySpec(name="page"))
    with gateway(release, stage.backend, with_store=True, home=tmp_path, access={"database": url}) as running:
        yield running, key.text


def asked_beforehand(weir: Gateway, origin: str, path: str = "/v1/chat/completions", method: str = "POST") -> Reply:
    wanted = {
        "access_control_request_method": method,
        "access_control_request_headers": "authorization,content-type,x-stainless-retry-count",
    }
    return asked(weir.port, "OPTIONS", path, origin=origin, **wanted)


def test_a_page_of_anywhere_may_ask_where_callers_need_a_key(keyed: tuple[Gateway, str], stage: Stage) -> None:
    weir, key = keyed
    num_before = len(stage.backend.calls)
    before = asked_beforehand(weir, ELSEWHERE)
    after = weir.post("/generate", ASK, origin=ELSEWHERE, authorization=f"Bearer {key}")

    assert before.status == 200  # without the key, which browsers do not send with this question
    assert before.headers[ALLOWED] == ELSEWHERE
    assert "authorization" in before.headers["access-control-allow-headers"]
    assert "POST" in before.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in before.headers
    assert after.status == 200
    assert after.headers[ALLOWED] == ELSEWHERE
    assert after.headers["access-control-expose-headers"] == "*"
    assert "Origin" in after.headers["vary"]
    assert len(stage.backend.calls) == num_before + 1


def test_a_page_can_read_why_it_was_refused(keyed: tuple[Gateway, str]) -> None:
    weir, key = keyed
    refusals = [
        weir.post("/generate", ASK, origin=ELSEWHERE),
        weir.post("/v1/chat/completions", b"{", origin=ELSEWHERE, authorization=f"Bearer {key}"),
        asked(weir.port, "GET", "/nowhere", origin=ELSEWHERE),
    ]

    assert [reply.status for reply in refusals] == [401, 400, 404]
    assert {reply.headers.get(ALLOWED) for reply in refusals} == {ELSEWHERE}


def test_where_anybody_is_served_only_pages_of_this_machine_may_ask(open_to_all: Gateway) -> None:
    for origin in HERE:
        assert asked_beforehand(open_to_all, origin).headers[ALLOWED] == origin
        assert open_to_all.post("/generate", ASK, origin=origin).headers[ALLOWED] == origin
    for origin in (
        ELSEWHERE,
        "null",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "//",
        "http://[",
    ):
        assert asked_beforehand(open_to_all, origin).status == 400, origin
        assert ALLOWED not in asked_beforehand(open_to_all, origin).headers, origin
        assert ALLOWED not in open_to_all.post("/generate", ASK, origin=origin).headers, origin


def test_a_first_key_opens_the_gateway_to_pages_that_have_one(stage: Stage, release: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.sqlite'}"
    with gateway(release, stage.backend, with_store=True, home=tmp_path, access={"database": url}) as weir:
        assert asked_beforehand(weir, ELSEWHERE).status == 400
        with Database(url) as database:
            KeyStore(database).create(KeySpec(name="page"))
        weir.eventually(lambda: asked_beforehand(weir, ELSEWHERE).status == 200)


def test_streams_and_routes_without_a_model_tell_pages_too(open_to_all: Gateway, stage: Stage) -> None:
    stage.script = answer("one ", "two")
    stream = open_to_all.post("/generate_stream", ASK, origin=HERE[0])

    assert stream.headers[ALLOWED] == HERE[0]
    assert stream.events[-1]["generated_text"] == "one two"
    for path in ("/v1/models", "/info", "/health", "/openapi.json"):
        assert asked(open_to_all.port, "GET", path, origin=HERE[0]).headers[ALLOWED] == HERE[0], path


def test_who_is_no_page_hears_nothing_of_it(open_to_all: Gateway) -> None:
    reply = open_to_all.post("/generate", ASK)

    assert reply.status == 200
    assert not [name for name in reply.headers if name.lower().startswith("access-control") or name.lower() == "vary"]


def test_named_origins_are_the_only_ones(stage: Stage, release: Path) -> None:
    with gateway(release, stage.backend, edge={"origins": [ELSEWHERE]}) as weir:
        assert weir.post("/generate", ASK, origin=ELSEWHERE).headers[ALLOWED] == ELSEWHERE
        assert ALLOWED not in weir.post("/generate", ASK, origin=HERE[0]).headers
    with gateway(release, stage.backend, edge={"origins": ["*"]}) as weir:
        assert weir.post("/generate", ASK, origin="https://any.example").headers[ALLOWED] == "https://any.example"


@pytest.mark.parametrize(
    "origin", ["chat.example", "https://chat.example/", "https://chat.example/app", "https://", ""]
)
def test_an_origin_that_no_browser_would_say_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="origins"):
        EdgeSettings(origins=[origin])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"content-length: 9999999999\r\n\r\n", 413),
        (b"x-big: %b\r\n\r\n" % (b"a" * 17_000), 431),
        (b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"x-late:", 408),
        (b"content-length: 14\r\n\r\n{", 408),
        (b"host: evil.example\r\n\r\n", 421),
    ],
)
def test_a_page_can_read_why_its_request_ended_before_any_route(
    stage: Stage, release: Path, sent: bytes, status: int
) -> None:
    limits = ConnectionLimits(head_timeout_s=0.2, body_timeout_s=0.2)
    with running(build_app(release, [stage.backend]), limits) as port:
        for origin, allowed in ((HERE[0], HERE[0]), (ELSEWHERE, None)):
            reply = raw_reply(port, b"POST /generate HTTP/1.1\r\norigin: %b\r\n%b" % (origin.encode(), sent))
            assert reply.status == status
            assert reply.headers.get(ALLOWED) == allowed
            assert reply.headers["vary"] == "Origin"
            assert "error_type" in reply.json
        nobody = raw_reply(port, b"POST /generate HTTP/1.1\r\n" + sent)
        assert (nobody.status, nobody.headers.get("vary")) == (status, None)


def raw_reply(port: int, sent: bytes) -> Reply:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(sent)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
