"""Adapters that are published after their release: a node takes them up and lets go of them while it serves."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.support.added_adapter import add_adapter
from tests.support.served_node import Node, serve
from tests.support.tiny_release import make_tiny_release

from weir.backends.http_node import HttpNode
from weir.contracts.errors import ReleaseError, ValidationError
from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.kernels.library import operators
from weir.gateway.accounting import Accounts
from weir.gateway.catalog import Catalog
from weir.gateway.embedding import Embeddings
from weir.gateway.guards import Guards
from weir.gateway.information import openai_models, tgi_info
from weir.guard.compiled import CompiledGuard
from weir.guard.policy import default_policy
from weir.routing.embedders import EmbedderNodes
from weir.telemetry.metrics import GatewayMetrics

pytestmark = pytest.mark.skipif(operators() is None, reason="no C compiler built the operators here")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_tiny_release(tmp_path / "releases", precisions=("packed8",))


@pytest.fixture
async def node(release: Path, tmp_path: Path) -> AsyncIterator[Node]:
    async with serve(tmp_path) as node:
        yield node


@pytest.fixture
async def backend(node: Node) -> AsyncIterator[HttpNode]:
    backend = HttpNode("cpu-0", node.url, "tiny")
    yield backend
    await backend.aclose()


async def said(backend: HttpNode, adapter: str | None) -> str:
    sampling = SamplingParams(max_new_tokens=20, ignore_eos=True)
    asked = GenerateRequest(id="r", prompt="How do I return an order?", sampling=sampling, adapter=adapter)
    async with aclosing(backend.generate(asked, timeout_s=10)) as events:
        return "".join([event.text async for event in events if isinstance(event, TokenChunk)])


async def test_a_running_node_takes_an_adapter_up_and_lets_go_of_it(
    release: Path, node: Node, backend: HttpNode
) -> None:
    plain = await said(backend, None)
    add_adapter(release, "shop")
    await backend.add_adapter("tiny", "shop")

    first = await said(backend, "shop")
    assert first != plain
    assert await said(backend, None) == plain
    async with node.client.get(f"{node.url}/v2/models/tiny") as response:
        assert (await response.json())["parameters"]["adapters"] == ["shop"]

    add_adapter(release, "shop", seed=3)
    await backend.add_adapter("tiny", "shop")
    assert await said(backend, "shop") not in {first, plain}

    await backend.remove_adapter("tiny", "shop")
    with pytest.raises(ValidationError, match="no adapter of this name"):
        await said(backend, "shop")
    with pytest.raises(ReleaseError, match="cpu-0 did not remove adapter shop: no adapter of this name"):
        await backend.remove_adapter("tiny", "shop")


async def test_a_node_that_starts_serves_what_lies_beside_its_release(release: Path, tmp_path: Path) -> None:
    add_adapter(release, "shop")
    broken = add_adapter(release, "broken")
    (broken / "adapter_config.json").write_text("{}")
    async with serve(tmp_path) as node:
        assert node.engine.adapters == ("shop",)


@pytest.mark.parametrize(
    ("name", "words"),
    [("nobody", "no adapter nobody was published for tiny/1"), ("..", "no adapter .. was published")],
)
async def test_what_was_not_published_is_refused(backend: HttpNode, name: str, words: str) -> None:
    with pytest.raises(ReleaseError, match=words):
        await backend.add_adapter("tiny", name.replace("..", "%2e%2e"))


async def test_an_altered_or_foreign_adapter_is_refused(release: Path, backend: HttpNode) -> None:
    folder = add_adapter(release, "shop")
    manifest = json.loads((folder / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps({**manifest, "release_sha256": "0" * 64}))
    with pytest.raises(ReleaseError, match="proven on another release"):
        await backend.add_adapter("tiny", "shop")
    (folder / "adapter.json").write_text(json.dumps(manifest))
    with (folder / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ReleaseError, match=r"adapter_model\.safetensors is not the file"):
        await backend.add_adapter("tiny", "shop")


async def test_a_flavour_that_takes_no_adapters_says_so(tmp_path: Path) -> None:
    root = make_tiny_release(tmp_path / "releases", precisions=("fp32",))
    async with serve(tmp_path) as node:
        add_adapter(root, "shop")
        backend = HttpNode("cpu-0", node.url, "tiny")
        with pytest.raises(ReleaseError, match="only packed flavours take adapters"):
            await backend.add_adapter("tiny", "shop")
        await backend.aclose()


def models_of(catalog: Catalog) -> list[str]:
    metrics = GatewayMetrics(CollectorRegistry())
    guards = Guards(CompiledGuard.build(default_policy()), metrics)
    embeddings = Embeddings({}, EmbedderNodes(metrics), Accounts(metrics), guards, metrics)
    return [entry["id"] for entry in openai_models(catalog, embeddings)]


def test_a_gateway_lists_them_as_models(release: Path) -> None:
    catalog = Catalog.from_releases([release])
    assert models_of(catalog) == ["tiny"]
    folder = add_adapter(release, "shop")
    catalog.replace(catalog.read_again())
    before = catalog.default.adapter_stamp("shop")

    assert models_of(catalog) == ["tiny", "tiny:shop"]
    assert tgi_info(catalog.default, 1)["release"]["adapters"] == ["shop"]

    add_adapter(release, "shop", seed=7)
    catalog.replace(catalog.read_again())
    assert catalog.default.adapter_stamp("shop") not in {"", before}  # what was answered before is not repeated
    shutil.rmtree(folder)
    catalog.replace(catalog.read_again())
    assert catalog.default.adapters == ()
