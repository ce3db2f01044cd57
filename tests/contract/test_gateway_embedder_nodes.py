"""Embedders of a running gateway: nodes that die and come back, releases and nodes that are read again."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.embedders import EmbedderNode, embedder_node, export_tiny
from tests.support.gateway import Reply, answer, asked, running
from tests.support.load import Load
from tests.support.oip_node import OipNode
from tests.support.process import GatewayProcess, gateway_process
from tests.support.prompt_release import make_prompt_release
from tests.support.scripted_embedder import EmbedderPeer

from weir.release.hashing import sha256_file
from weir.release.reader import TOKENIZER
from weir_training.embedder.release import Exported


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_tiny(tmp_path_factory.mktemp("home"))


@pytest.fixture
def versions(exported: Exported, tmp_path: Path) -> Path:
    """A folder of the embedder's versions that a test may add to."""
    shutil.copytree(exported.root, tmp_path / "versions" / "1")
    return tmp_path / "versions"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_prompt_release(tmp_path / "releases")


@pytest.fixture
def peers() -> tuple[EmbedderPeer, EmbedderPeer]:
    return EmbedderPeer(1.0), EmbedderPeer(2.0)


@pytest.fixture
def urls(peers: tuple[EmbedderPeer, EmbedderPeer]) -> Iterator[list[str]]:
    """Both embedder nodes, then one that generates."""
    with ExitStack() as stack:
        apps = [*peers, OipNode(answer("ok"))]
        yield [f"http://127.0.0.1:{stack.enter_context(running(app))}" for app in apps]


def publish(versions: Path, version: int) -> None:
    shutil.copytree(versions / "1", versions / str(version))
    manifest = versions / str(version) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": version}))
    (manifest.parent / "COMPLETE").write_text(sha256_file(manifest))


def name_of(url: str, version: int = 1) -> str:
    return f"tiny-embed/{version}@{url.removeprefix('http://')}"


def embed(weir: GatewayProcess) -> Reply:
    return asked(weir.port, "POST", "/v1/embeddings", {"input": ["a", "b"]})


def load(weir: GatewayProcess) -> Load:
    return Load(lambda: embed(weir), clients=3)


def mark(weir: GatewayProcess) -> float:
    """Ask; return which node answered."""
    reply = embed(weir)
    assert reply.status == 200, reply.body
    return float(reply.json["data"][0]["embedding"][0])


def healthy(weir: GatewayProcess) -> dict[str, bool]:
    """What the admin port says of embedder nodes."""
    status, text = weir.ask("/admin/nodes", admin=True)
    nodes = json.loads(text)["nodes"] if status == 200 else []
    return {node["name"]: node["healthy"] for node in nodes if "@" in node["name"]}


def test_a_node_that_dies_is_noticed_costs_no_request_and_comes_back(
    release: Path, versions: Path, urls: list[str], peers: tuple[EmbedderPeer, EmbedderPeer], tmp_path: Path
) -> None:
    flags = [part for url in urls[:2] for part in ("--embedder", f"{versions}={url}")]
    first, second = (name_of(url) for url in urls[:2])
    with gateway_process(release, urls[2], tmp_path, *flags) as weir:
        assert healthy(weir) == {first: True, second: True}
        assert {mark(weir) for _ in range(4)} == {1.0, 2.0}
        assert weir.metric("node_info", node=first, backend="embedder") == 1

        with load(weir) as clients:
            peers[0].is_ready = False
            weir.eventually(lambda: healthy(weir) == {first: False, second: True})
            assert weir.metric("node_healthy", node=first) == 0
            asked_before = peers[0].asked
            assert {mark(weir) for _ in range(4)} == {2.0}
            peers[0].is_ready = True
            weir.eventually(lambda: healthy(weir) == {first: True, second: True})
            weir.eventually(lambda: peers[0].asked > asked_before)
        assert clients.wrong == []

        peers[0].is_broken = True  # it goes on to call itself ready
        with load(weir) as clients:
            weir.eventually(lambda: weir.metric("circuit_state", node=first) > 0)
            peers[0].is_broken = False
            weir.eventually(lambda: weir.metric("circuit_state", node=first) == 0)
        assert clients.wrong == []
        assert weir.metric("upstream_errors_total", backend="embedder", reason="protocol") >= 3
        assert weir.metric("upstream_retries_total", backend="embedder") >= 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_reads_embedders_again_and_drops_no_request(
    release: Path,
    versions: Path,
    urls: list[str],
    peers: tuple[EmbedderPeer, EmbedderPeer],
    tmp_path: Path,
    workers: int,
) -> None:
    config = tmp_path / "gateway.yaml"

    def write(*at: str) -> None:
        config.write_text(json.dumps({"embedders": [{"release": str(versions), "urls": at}]}), encoding="utf-8")

    peers[0].delay_s = peers[1].delay_s = 0.02  # so that some run while files are read
    write(urls[0])
    flags = ("--config", str(config), "--workers", str(workers))
    with gateway_process(release, urls[2], tmp_path, *flags) as weir:
        weir.eventually(lambda: weir.metric("processes") == workers)
        releases = set()

        def ask() -> Reply:
            reply = embed(weir)
            releases.add(reply.headers.get("x-weir-release"))
            return reply

        with Load(ask, clients=3) as clients:
            weir.eventually(lambda: clients.done > 10)
            publish(versions, 2)
            write(urls[1])
            os.kill(weir.process.pid, signal.SIGHUP)
            weir.eventually(lambda: weir.metric("config_reloads_total", result="applied") == workers)
            weir.eventually(lambda: healthy(weir) == {name_of(urls[1], 2): True})
            assert {mark(weir) for _ in range(6)} == {2.0}

            (versions / "2" / TOKENIZER).write_text("{}")
            assert weir.status("/admin/reload", admin=True, method="POST") == (422 if workers == 1 else 202)
            weir.eventually(lambda: weir.metric("config_reloads_total", result="refused") == workers)
            assert {mark(weir) for _ in range(6)} == {2.0}
        assert weir.metric("model_info", model="tiny-embed", version="1", sha256=sha(versions, 1)) == 0
        assert weir.metric("model_info", model="tiny-embed", version="2", sha256=sha(versions, 2)) == workers

    assert clients.wrong == []
    assert releases == {"tiny-embed/1", "tiny-embed/2"}


def sha(versions: Path, version: int) -> str:
    return sha256_file(versions / str(version) / "manifest.json")[:12]


@pytest.fixture(scope="module")
def node(exported: Exported) -> Iterator[EmbedderNode]:
    with embedder_node(exported.root.parents[2], exported.root) as serving:
        yield serving


def test_one_flag_is_enough_where_the_generating_node_serves_the_embedder_too(
    release: Path, exported: Exported, node: EmbedderNode, urls: list[str], tmp_path: Path
) -> None:
    flags = ("--node", node.url, "--embedder", str(exported.root.parent))
    with gateway_process(release, urls[2], tmp_path, *flags) as weir:
        assert healthy(weir) == {name_of(urls[2]): True, name_of(node.url): True}
