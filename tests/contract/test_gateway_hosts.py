"""Under which names a gateway, its admin port and a node answer, when nobody but their own machine is meant to ask."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import Gateway, Stage, answer, asked, gateway, running
from tests.support.oip_node import OipNode
from tests.support.process import gateway_process
from tests.support.served_node import Node, body

from weir.store.database import Database
from weir.store.keys import KeySpec, KeyStore

REBOUND = "evil.example:8080"
ASK = {"inputs": "hi", "parameters": {"max_new_tokens": 5}}
CHAT = {"messages": [{"role": "user", "content": "hi"}]}
OURS = [
    "localhost",
    "LOCALHOST:8080",
    "localhost.:8080",
    "app.localhost:3000",
    "127.0.0.1:8080",
    "192.168.1.7:8080",
    "[::1]:8080",
    "[fe80::1]",
    "host.docker.internal:8080",
    "host.containers.internal",
    f"{socket.gethostname()}:8080",
    "",
]
STRANGE = [
    REBOUND,
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "internal.evil.example",
    "notlocalhost",
    "xinternal",
    "[::1].evil.example",
    "[evil.example]:80",
    "evil.example#localhost",
    "localhost@evil.example",
    "1.2.3.4.5",
    "localhost:80@evil.example",
    "localhost:80:evil.example",
    "\u00e9vil.example",
]


@pytest.fixture(scope="module")
def weir(stage: Stage, release: Path) -> Iterator[Gateway]:
    with gateway(release, stage.backend) as running:
        yield running


def status(weir: Gateway, host: str, path: str = "/livez") -> int:
    return asked(weir.port, "GET", path, host=host).status


@pytest.mark.parametrize("host", OURS)
def test_a_gateway_without_keys_answers_under_names_of_its_machine(weir: Gateway, host: str) -> None:
    assert [status(weir, host) for _ in range(2)] == [200, 200]  # known by now


@pytest.mark.parametrize("host", STRANGE)
def test_and_under_no_name_that_a_stranger_could_point_at_it(weir: Gateway, stage: Stage, host: str) -> None:
    calls, before = len(stage.backend.calls), weir.metric("refused_early_total", reason="misdirected_request")

    replies = [weir.post("/generate", ASK, host=host) for _ in range(2)]

    assert [reply.status for reply in replies] == [421, 421]
    assert len(stage.backend.calls) == calls
    assert weir.metric("refused_early_total", reason="misdirected_request") == before + 2


def test_every_path_is_shut_to_a_rebound_page_whatever_it_says_of_itself(weir: Gateway) -> None:
    for path in ("/", "/v1/models", "/info", "/docs", "/openapi.json", "/livez", "/nowhere"):
        assert status(weir, REBOUND, path) == 421, path
    reply = weir.post("/v1/chat/completions", CHAT, host=REBOUND, origin=f"http://{REBOUND}")
    assert reply.status == 421
    assert "access-control-allow-origin" not in reply.headers


def test_the_refusal_has_the_form_of_its_api_and_says_what_to_do(weir: Gateway) -> None:
    openai = weir.post("/v1/chat/completions", CHAT, host=REBOUND).json["error"]
    tgi = weir.post("/generate", ASK, host=REBOUND).json
    triton = weir.post("/v2/models/m/generate", {"text_input": "hi"}, host=REBOUND).json

    assert (openai["type"], openai["code"]) == ("invalid_request_error", "misdirected_request")
    assert tgi["error_type"] == "validation"
    assert set(triton) == {"error"}
    for words in (openai["message"], tgi["error"], triton["error"]):
        assert "localhost" in words
        assert "edge.origins" in words
        assert "evil" not in words


def test_a_connection_that_asks_under_two_names_is_refused_at_the_second(weir: Gateway) -> None:
    ask = b"GET /livez HTTP/1.1\r\nhost: %b\r\n\r\n"
    with socket.create_connection(("127.0.0.1", weir.port), timeout=5) as connection:
        connection.sendall(ask % b"localhost" + ask % b"evil.example" + ask % b"localhost")
        data = b""
        while part := connection.recv(65536):
            data += part
    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200", b"421"]


def test_of_two_host_fields_both_must_be_ours(weir: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", weir.port), timeout=5) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n")
        assert b" 421 " in connection.recv(1000).partition(b"\r\n")[0]


def test_hosts_of_named_origins_are_ours_too(stage: Stage, release: Path) -> None:
    with gateway(release, stage.backend, edge={"origins": ["https://chat.example:8443", "null"]}) as weir:
        assert [status(weir, "chat.example"), status(weir, "CHAT.example:443"), status(weir, REBOUND)] == [
            200,
            200,
            421,
        ]
    with gateway(release, stage.backend, edge={"origins": ["*"]}) as weir:
        assert status(weir, REBOUND) == 200


@pytest.mark.parametrize("given", [{"host": "0.0.0.0"}, {"access": {"allow_anonymous": True}}])
def test_who_serves_everybody_or_the_network_answers_under_any_name(
    stage: Stage, release: Path, given: dict[str, Any]
) -> None:
    with gateway(release, stage.backend, **given) as weir:
        assert weir.post("/generate", ASK, host=REBOUND).status == 200


def test_a_first_key_takes_the_place_of_names(stage: Stage, release: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.sqlite'}"
    with gateway(release, stage.backend, with_store=True, home=tmp_path, access={"database": url}) as weir:
        assert weir.post("/generate", ASK, host=REBOUND).status == 421
        with Database(url) as database:
            key = KeyStore(database).create(KeySpec(name="page")).text
        weir.eventually(lambda: weir.post("/generate", ASK, host=REBOUND).status == 401)
        assert weir.post("/generate", ASK, host=REBOUND, authorization=f"Bearer {key}").status == 200


def test_the_admin_port_on_loopback_is_shut_to_rebound_pages(release: Path, tmp_path: Path) -> None:
    with running(OipNode(answer("ok"))) as port, gateway_process(release, f"http://127.0.0.1:{port}", tmp_path) as weir:
        for path in ("/metrics", "/admin/nodes", "/livez"):
            assert asked(weir.admin_port, "GET", path).status == 200
            assert asked(weir.admin_port, "GET", path, host="host.docker.internal:8081").status == 200
            assert asked(weir.admin_port, "GET", path, host="evil.example:8081").status == 421
        assert asked(weir.port, "POST", "/generate", ASK, host=REBOUND).status == 421
        weir.eventually(lambda: weir.metric("refused_early_total", reason="misdirected_request") == 1)


async def test_a_node_on_loopback_is_shut_to_them_as_well(node: Node) -> None:
    path = "/v2/models/tiny/generate"
    refused = await node.client.post(node.url + path, data=json.dumps(body()), headers={"host": "evil.example:8100"})
    served = await node.client.post(node.url + path, data=json.dumps(body()), headers={"host": "localhost:8100"})

    assert (refused.status, served.status) == (421, 200)
    assert "localhost" in (await refused.json())["error"]
