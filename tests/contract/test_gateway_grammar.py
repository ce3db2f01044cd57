"""Grammars from TGI's surface to a real node and back: held to, refused by name, and nothing lost on the way."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.support.gateway import Gateway, gateway, running
from tests.support.tiny_release import make_tiny_release

from weir.backends.http_node import HttpNode
from weir.cpu_node.app import NodeApp
from weir.cpu_node.models import ModelHost
from weir.cpu_node.settings import NodeSettings
from weir.engine.engine import Engine
from weir.engine.loading import load_engine
from weir.engine.settings import EngineSettings
from weir.telemetry.node_metrics import NodeMetrics

SCHEMA = {
    "type": "object",
    "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 9}, "ok": {"type": "boolean"}},
    "required": ["days", "ok"],
    "additionalProperties": False,
}
HOSTILE = {
    "no text": {"type": "regex", "value": "[^\\x00-\\U0010FFFF]"},
    "look-around": {"type": "regex", "value": "(?=a)b"},
    "open group": {"type": "regex", "value": "(a"},
    "no schema": {"type": "json", "value": "[1, 2]"},
    "no JSON": {"type": "json", "value": "{nothing"},
    "unknown type": {"type": "json", "value": {"type": "nothing"}},
    "nowhere": {"type": "json_schema", "value": {"schema": {"$ref": "#/$defs/nobody"}}},
    "not": {"type": "json", "value": {"not": {"type": "string"}}},
}


@dataclass
class Node:
    """A real node, and the engine in it."""

    port: int
    engine: Engine

    @property
    def is_idle(self) -> bool:
        return self.engine.stats.running + self.engine.stats.queued == 0


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_release(tmp_path_factory.mktemp("releases"), precisions=("fp32",))


@pytest.fixture(scope="module")
def node(release: Path) -> Iterator[Node]:
    engines: list[Engine] = []

    def load(root: Any) -> Engine:
        settings = EngineSettings(threads=1, max_running=2, max_waiting=8, check_golden=False)
        engines.append(load_engine(root, None, settings))
        return engines[-1]

    host = ModelHost(NodeSettings(threads=1), NodeMetrics(CollectorRegistry()), load)
    asyncio.run(host.load(release))
    with running(NodeApp(host, NodeMetrics(CollectorRegistry()), max_body_bytes=1 << 20)) as port:
        yield Node(port, engines[0])
    asyncio.run(host.aclose(drain_s=0))


@pytest.fixture(scope="module")
def weir(release: Path, node: Node) -> Iterator[Gateway]:
    with gateway(release, HttpNode("cpu-0", f"http://127.0.0.1:{node.port}", "tiny")) as running_gateway:
        yield running_gateway


def ask(weir: Gateway, path: str = "/generate", **parameters: Any) -> Any:
    given = {"max_new_tokens": 60, "do_sample": True, "temperature": 1.0, "seed": 1} | parameters
    return weir.post(path, {"inputs": "怎么退货？", "parameters": given})


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_answer_is_held_to_a_json_schema(weir: Gateway, seed: int) -> None:
    for given in ({"type": "json", "value": SCHEMA}, {"type": "json_schema", "value": {"name": "n", "schema": SCHEMA}}):
        text = ask(weir, grammar=given, seed=seed, max_new_tokens=None).json["generated_text"]
        value = json.loads(text)
        assert value.keys() == {"days", "ok"}
        assert 1 <= value["days"] <= 9


def test_an_answer_is_held_to_a_regular_expression(weir: Gateway) -> None:
    assert ask(weir, grammar={"type": "regex", "value": "[0-9]{4}"}).json["generated_text"].isdigit()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_a_grammar_that_cannot_be_is_a_422_that_names_the_field(
    weir: Gateway, node: Node, name: str, path: str
) -> None:
    reply = ask(weir, path, grammar=HOSTILE[name])

    assert reply.status == 422, reply.body
    assert reply.json["error_type"] == "validation"
    assert reply.json["error"].startswith("`parameters.grammar")
    assert node.is_idle
    assert ask(weir, max_new_tokens=2).status == 200
    assert weir.metric("circuit_state", node="cpu-0") == 0


@pytest.mark.timed
@pytest.mark.parametrize(
    "pattern", ["|".join(f"(a|b)*a(a|b){{{i}}}" for i in range(5, 300)), "(a?){4000}a{4000}", "(.*)*x" * 900]
)
def test_a_grammar_meant_to_exhaust_a_node_is_served_or_refused_in_time(
    weir: Gateway, node: Node, pattern: str
) -> None:
    began = time.monotonic()
    reply = ask(weir, grammar={"type": "regex", "value": pattern}, max_new_tokens=8)
    assert time.monotonic() - began < 6

    assert reply.status in {200, 422}
    assert ask(weir, max_new_tokens=2).status == 200
    weir.eventually(lambda: node.is_idle)


def test_on_the_triton_style_surface_it_is_the_field_of_that_surface(weir: Gateway) -> None:
    body = {"text_input": "?", "sampling_parameters": {"structured_outputs": {"regex": "(a"}}}

    reply = weir.post("/v2/models/tiny/generate", body)

    assert (reply.status, reply.json["error"].partition(":")[0]) == (422, "structured_outputs")


def test_bad_grammars_beside_good_requests_lose_none_of_them(weir: Gateway, node: Node) -> None:
    statuses: list[tuple[bool, int]] = []

    def one(number: int) -> None:
        is_bad = number % 2 == 0
        grammar = {"type": "regex", "value": "(a" if is_bad else f"[0-9]{{{number}}}"}
        statuses.append((is_bad, ask(weir, grammar=grammar, max_new_tokens=8).status))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [(False, 200)] * 4 + [(True, 422)] * 4
    weir.eventually(lambda: node.is_idle)


def test_the_node_keeps_no_more_grammars_than_its_limit(weir: Gateway, node: Node) -> None:
    for number in range(40):
        assert ask(weir, grammar={"type": "regex", "value": f"a{{{number + 1}}}"}, max_new_tokens=1).status == 200

    assert node.engine._constraints.cached == 32


def test_prefill_and_top_tokens_come_from_a_real_model(weir: Gateway, node: Node) -> None:
    details = ask(weir, decoder_input_details=True, top_n_tokens=3, max_new_tokens=4, do_sample=False).json["details"]

    assert details["prefill"][0]["logprob"] is None
    assert all(token["logprob"] < 0 for token in details["prefill"][1:])
    assert len(details["prefill"]) == int(ask(weir, max_new_tokens=1).headers["x-prompt-tokens"])
    assert [len(top) for top in details["top_tokens"]] == [3] * len(details["tokens"])
    for token, top in zip(details["tokens"], details["top_tokens"], strict=True):
        assert top[0]["id"] == token["id"]  # greedy
        assert [other["logprob"] for other in top] == sorted((other["logprob"] for other in top), reverse=True)


def test_best_of_gives_the_likeliest_of_its_answers(weir: Gateway, node: Node) -> None:
    reply = ask(weir, best_of=3, seed=None, max_new_tokens=6, details=True).json["details"]

    def mean(sequence: Any) -> float:
        # Text that a rule replaced has no log-probability: random letters look like secrets now and then.
        logprobs = [token["logprob"] for token in sequence["tokens"] if (token["id"], token["logprob"]) != (0, 0.0)]
        return sum(logprobs) / len(logprobs) if logprobs else float("-inf")

    means = [mean(reply), *map(mean, reply["best_of_sequences"])]
    assert means == sorted(means, reverse=True)
    assert len({reply["seed"], *(other["seed"] for other in reply["best_of_sequences"])}) == 3
    again = ask(weir, seed=reply["seed"], max_new_tokens=6, details=True).json["details"]
    assert [token["id"] for token in again["tokens"]] == [token["id"] for token in reply["tokens"]]
