"""Every answer says which release, node and flavour served it."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.support.gateway import Gateway, Stage, answer, gateway

from weir.backends.base import NodeReport
from weir.contracts.errors import BackendUnavailableError
from weir.contracts.events import TokenChunk

CHAT = {"model": "tgi", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION = {"model": "tgi", "prompt": "hi"}
TGI = {"inputs": "hi"}
TRITON = {"text_input": "hi"}
SURFACES = [
    ("/", TGI),
    ("/generate", TGI),
    ("/generate_stream", TGI),
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT | {"stream": True}),
    ("/v1/completions", COMPLETION),
    ("/v1/completions", COMPLETION | {"stream": True}),
    ("/v1/responses", {"model": "tgi", "input": "hi"}),
    ("/v1/responses", {"model": "tgi", "input": "hi", "stream": True}),
    ("/v2/models/faq/generate", TRITON),
    ("/v2/models/faq/generate_stream", TRITON),
]


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return [Stage(), Stage()]


@pytest.fixture(scope="module")
def weir(release: Path, stages: list[Stage]) -> Generator[Gateway, None, None]:
    for number, stage in enumerate(stages):
        stage.backend._name = f"n{number}"
        stage.backend.report = NodeReport(version=7, flavour="cpu-fp32", slots=4, present=0)
        stage.script = answer("ok")
    with gateway(release, *(stage.backend for stage in stages), cache_mb=1) as running:
        running.eventually(lambda: len(running.app.service.router.fleet.pools) == 1)
        yield running


@pytest.mark.parametrize(("path", "body"), SURFACES)
def test_all_surfaces_say_what_served_an_answer_streamed_or_not(weir: Gateway, path: str, body: dict[str, Any]) -> None:
    said = json.loads(json.dumps(body).replace('"hi"', f'"hi {uuid4()}"'))  # no answer to this is kept

    reply = weir.post(path, said)

    assert reply.status == 200, reply.body
    assert reply.headers["x-weir-release"] == "faq/7"
    assert reply.headers["x-weir-node"] in {"n0", "n1"}
    assert reply.headers["x-weir-flavour"] == "cpu-fp32"


def test_answers_of_several_nodes_in_one_response_name_all_of_them(weir: Gateway, stages: list[Stage]) -> None:
    for stage in stages:
        stage.script = lambda asked: [TokenChunk("a"), 0.05, *answer("b")(asked)]
    body = {"model": "tgi", "prompt": ["one", "two"], "temperature": 1.0}

    headers = weir.post("/v1/completions", body).headers

    assert sorted(headers["x-weir-node"].split(", ")) == ["n0", "n1"]
    assert headers["x-weir-release"] == "faq/7"


def test_an_answer_from_the_cache_names_no_node(weir: Gateway, stages: list[Stage]) -> None:
    for stage in stages:
        stage.script = answer("kept")
    first = weir.post("/generate", {"inputs": "keep this"}).headers
    second = weir.post("/generate", {"inputs": "keep this"}).headers

    assert first["x-weir-node"] in {"n0", "n1"}
    assert second["x-weir-node"] == "cache"
    assert "x-weir-flavour" not in second


def test_the_node_that_answered_is_named_and_not_the_one_that_failed(release: Path) -> None:
    bad, good = Stage(), Stage()
    bad.backend._name, good.backend._name = "bad", "good"
    bad.script = [BackendUnavailableError("gone")]
    with gateway(release, bad.backend, good.backend) as weir:
        assert {weir.post("/generate", TGI).headers["x-weir-node"] for _ in range(4)} == {"good"}


def test_an_error_names_no_node(weir: Gateway) -> None:
    assert "x-weir-node" not in weir.post("/generate", {"inputs": ""}).headers


def test_the_information_route_lists_the_nodes(weir: Gateway) -> None:
    assert weir.get("/info").json["nodes"] == [
        {"name": name, "pool": "cpu", "models": ["faq"], "flavour": "cpu-fp32", "version": 7, "ready": True}
        for name in ("n0", "n1")
    ]
