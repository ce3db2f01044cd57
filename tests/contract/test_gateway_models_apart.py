"""One gateway over two CPU nodes that serve a model each: real processes, which go away and come back."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import Reply, asked
from tests.support.ports import free_port
from tests.support.process import GatewayProcess, gateway_process
from tests.support.processes import Server
from tests.support.tiny_release import make_tiny_release

ADAPTED = {"max_tokens": 4, "ignore_eos": True, "temperature": 0}


@dataclass
class House:
    weir: GatewayProcess
    first: Server
    second: Server

    def complete(self, model: str | None) -> Reply:
        body: dict[str, Any] = {"prompt": "zebras", **ADAPTED} | ({} if model is None else {"model": model})
        return asked(self.weir.port, "POST", "/v1/completions", body)

    def node_of(self, model: str | None) -> str:
        """Which node answers; the status where none does."""
        reply = self.complete(model)
        return reply.headers["x-weir-node"] if reply.status == 200 else str(reply.status)

    def readiness(self) -> tuple[int, Any]:
        reply = asked(self.weir.port, "GET", "/readyz")
        return reply.status, reply.json

    def nodes_for(self, model: str) -> float:
        return self.weir.metric("model_nodes", model=model)


def node(home: Path, model: str) -> Server:
    port = free_port()
    arguments = ("-m", "weir.cpu_node", model, "--port", str(port), "--home", str(home), "--threads", "1")
    return Server(arguments, home / f"{model}.log", port, f"/v2/models/{model}/ready")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    for model in ("alpha", "beta"):
        make_tiny_release(folder / "releases", model=model, precisions=("fp32",))
    return folder


@pytest.fixture
def house(home: Path, tmp_path: Path) -> Iterator[House]:
    first, second = node(home, "alpha"), node(home, "beta")
    alpha, beta = (home / "releases" / model for model in ("alpha", "beta"))
    try:
        first.start()
        second.start()
        flags = ("--node", f"b={second.url}", "--release", str(beta))
        with gateway_process(alpha, f"a={first.url}", tmp_path, *flags) as weir:
            weir.eventually(lambda: weir.metric("model_nodes", model="beta") == 1)
            yield House(weir, first, second)
    finally:
        first.stop()
        second.stop()


def test_each_model_is_answered_by_the_node_that_has_it(house: House) -> None:
    for _ in range(4):
        assert [house.node_of(model) for model in ("alpha", "beta", None)] == ["a", "b", "a"]
    assert house.readiness() == (200, {"status": "ready"})
    assert [house.nodes_for(model) for model in ("alpha", "beta")] == [1, 1]
    listed = {one["name"]: one["models"] for one in asked(house.weir.port, "GET", "/info").json["nodes"]}
    assert listed == {"a": ["alpha"], "b": ["beta"]}


def test_a_model_whose_node_goes_is_away_alone_until_it_is_back(house: House) -> None:
    weir = house.weir
    house.second.kill()
    weir.eventually(lambda: house.nodes_for("beta") == 0)

    assert house.node_of("alpha") == "a"
    away = house.complete("beta")
    assert (away.status, away.json["error"]["code"]) == (503, "backend_unavailable")
    assert house.readiness() == (200, {"status": "ready", "models_without_node": ["beta"]})
    assert [weir.status(f"/v2/models/{model}/ready") for model in ("alpha", "beta")] == [200, 503]
    assert '"model_without_node"' in weir.log

    house.second.start()
    weir.eventually(lambda: house.node_of("beta") == "b")
    assert house.readiness() == (200, {"status": "ready"})


def test_without_the_default_models_node_the_gateway_is_not_ready_but_serves_the_rest(house: House) -> None:
    house.first.kill()
    house.weir.eventually(lambda: house.readiness()[0] == 503)

    assert house.readiness()[1] == {"status": "no node is ready", "models_without_node": ["alpha"]}
    assert house.weir.status("/health") == 503
    assert house.node_of("beta") == "b"
    began = time.monotonic()
    assert house.node_of("alpha") == "503"
    assert time.monotonic() - began < 10


def test_a_node_that_comes_to_serve_another_model_gets_its_requests_and_loses_them_again(house: House) -> None:
    weir, second = house.weir, house.second
    house.first.kill()
    weir.eventually(lambda: house.nodes_for("alpha") == 0)

    assert second.ask("POST", "/v2/repository/models/alpha/load", {"parameters": {"version": 1}}).status == 200
    weir.eventually(lambda: house.node_of("alpha") == "b")
    assert house.readiness() == (200, {"status": "ready"})

    assert second.ask("POST", "/v2/repository/models/beta/unload", {}).status == 200
    weir.eventually(lambda: house.node_of("beta") == "503")
    assert house.node_of("alpha") == "b"
    assert house.readiness() == (200, {"status": "ready", "models_without_node": ["beta"]})


def test_a_model_that_another_node_has_loses_no_request_while_its_first_one_leaves(house: House) -> None:
    """The mixed state of a roll-out: both nodes have the model, then one of them has it no more."""
    second = house.second
    second.ask("POST", "/v2/repository/models/alpha/load", {"parameters": {"version": 1}})
    house.weir.eventually(lambda: house.nodes_for("alpha") == 2)
    seen = set()
    for number in range(30):
        if number == 10:
            assert second.ask("POST", "/v2/repository/models/alpha/unload", {}).status == 200
        seen.add(house.node_of("alpha"))
    assert seen <= {"a", "b"}
    assert "a" in seen
    assert house.node_of("beta") == "b"
