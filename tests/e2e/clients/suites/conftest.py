"""Read by the pytest of a client's own environment: nothing here may need Weir."""

import http.client
import json
import os
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Gateway:
    """A running gateway, and the model behind it."""

    url: str
    model: str
    key: str
    limited_key: str

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """What the wire says, for comparison with what a client makes of it."""
        host = self.url.removeprefix("http://")
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"} | given)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def wait_ready(self) -> None:
        """A test before may have made the only node fail: the gateway leaves it alone for a moment."""
        deadline = time.monotonic() + 30
        while not self._is_ready():
            assert time.monotonic() < deadline, "the gateway did not become ready again"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        with closing(http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=5)) as connection:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200


@pytest.fixture
def real() -> Gateway:
    """Over the real node with a small random model: nonsense, but always the same nonsense."""
    gateway = _gateway("real")
    gateway.wait_ready()
    return gateway


@pytest.fixture
def scripted() -> Gateway:
    """Over a node that does what `play` says."""
    gateway = _gateway("scripted")
    gateway.wait_ready()
    return gateway


@pytest.fixture
def full(play: Any) -> Any:
    """A gateway that takes one request at a time, and has one: it is busy for about two seconds from now."""
    gateway = _gateway("full")
    gateway.wait_ready()
    body = {"inputs": play("tick ", times=40, pace_s=0.05), "stream": True}
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=30)) as connection:
        deadline = time.monotonic() + 30
        while True:
            connection.request("POST", "/", json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            if response.status == 200:
                break
            response.read()
            assert time.monotonic() < deadline, "what a test before left running did not end"
            time.sleep(0.1)
        response.readline()
        yield gateway


@pytest.fixture
def keyed() -> Gateway:
    """A gateway that serves nobody without a key: `key`, or `limited_key`, which is good for two requests a minute."""
    gateway = _gateway("keyed")
    gateway.wait_ready()
    return gateway


def _gateway(name: str) -> Gateway:
    told = json.loads(os.environ["WEIR_CLIENT_SUITE"])
    return Gateway(told[name], told["model"], told["key"], told["limited_key"])


@pytest.fixture
def play() -> Any:
    """Write a prompt that makes the scripted node do something (tests/support/scripted_node.py)."""
    return lambda *texts, **more: "play:" + json.dumps({"texts": texts or ("ok",), **more}, ensure_ascii=False)


@pytest.fixture(scope="session")
def release() -> Path:
    """The served release's folder: its tokenizer is what a client may load."""
    return Path(json.loads(os.environ["WEIR_CLIENT_SUITE"])["release"])
