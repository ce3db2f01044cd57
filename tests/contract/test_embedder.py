"""An embedder from a checkpoint to a node's answers: exported, proven, released, served, asked over HTTP."""

import base64
import json
import shutil
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.embedders import EmbedderNode, embedder_node, export_tiny
from tests.support.tiny_checkpoint import make_tiny_checkpoint
from tests.support.tiny_encoder import BEGIN, END, make_tiny_encoder

from weir.backends.embedder import HttpEmbedder
from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    CheckFailedError,
    ReleaseError,
    UsageError,
    ValidationError,
)
from weir.engine.embedder import load_embedder
from weir.engine.golden import GoldenMismatchError
from weir.release.hashing import sha256_file
from weir.release.reader import open_embedder, open_release
from weir_training.embedder import release as releasing
from weir_training.embedder.release import Exported, export_and_publish
from weir_training.embedder.source import read_source

TEXTS = ["How do I return an order?", "怎么退货？", "wizards " * 12]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_tiny(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def home(exported: Exported) -> Path:
    return exported.root.parents[2]


@pytest.fixture(scope="module")
def node(exported: Exported, home: Path) -> Iterator[EmbedderNode]:
    with embedder_node(home, exported.root) as running:
        yield running


def asked(node: EmbedderNode, body: Any, path: str = "/v2/models/tiny-embed/infer") -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(node.url + path, raw), timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def of_texts(*texts: str, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}]} | more


def of_rows(*rows: list[int], **more: Any) -> dict[str, Any]:
    ids = [token for row in rows for token in row]
    tensors = {"input_ids": ids, "lengths": [len(row) for row in rows]}
    inputs = [{"name": n, "datatype": "INT64", "shape": [len(data)], "data": data} for n, data in tensors.items()]
    return {"inputs": inputs} | more


def cosine(one: Any, other: Any) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5


# export and the release


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_vectors_of_an_encoder_are_the_checkpoints(tmp_path: Path, pooling: Any) -> None:
    checkpoint = make_tiny_encoder(tmp_path / "enc", context_tokens=32)
    made = export_and_publish(checkpoint, "e", tmp_path / "home", pooling=pooling)

    assert made.manifest.pooling == pooling
    assert made.manifest.formats[0].parity.min_cosine >= 0.99999

    row = made.manifest.golden[0].ids
    with pytest.MonkeyPatch.context():
        import torch
        from transformers import AutoModel

        model = AutoModel.from_pretrained(checkpoint).eval()
        with torch.inference_mode():
            hidden = model(input_ids=torch.tensor([row])).last_hidden_state[0]
    wanted = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling].tolist()
    assert cosine(made.manifest.golden[0].vector, wanted) >= 0.999
    assert sum(value * value for value in made.manifest.golden[0].vector) == pytest.approx(1, abs=1e-4)


def test_a_decoders_last_token_stands_for_its_text(tmp_path: Path) -> None:
    made = export_and_publish(make_tiny_checkpoint(tmp_path / "dec", context_tokens=64), "d", tmp_path / "home")

    assert (made.manifest.pooling, made.manifest.dimensions) == ("last", 64)
    assert made.manifest.formats[0].parity.min_cosine >= 0.99999


def test_a_release_is_published_once_and_is_what_its_manifest_says(exported: Exported, home: Path) -> None:
    again = export_and_publish(home / "checkpoint", "tiny-embed", home, repository=home / "model_repository")

    assert (exported.is_new, again.is_new, again.root) == (True, False, exported.root)
    assert open_embedder(exported.root).manifest == exported.manifest
    assert exported.link.resolve() == exported.root.resolve()
    assert (exported.root / "reports" / "MODEL_CARD.md").read_text().count("cosine") == 1
    with pytest.raises(ReleaseError, match="embeds texts"):
        open_release(exported.root)


def test_marks_that_the_tokenizer_puts_around_a_text_are_read(exported: Exported) -> None:
    embedder = load_embedder(exported.root)
    begin, end = (embedder.tokenizer.encode(mark)[0] for mark in (BEGIN, END))
    ids = exported.manifest.golden[0].ids
    assert (ids[0], ids[-1]) == (begin, end)


def test_a_graph_that_is_not_the_checkpoint_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make_tiny_encoder(tmp_path / "enc")

    def wrong(*given: Any) -> Any:
        return [vector[::-1].copy() for vector in releasing_reference(*given)]

    releasing_reference = releasing.reference
    monkeypatch.setattr(releasing, "reference", wrong)
    with pytest.raises(CheckFailedError, match="cosine"):
        export_and_publish(checkpoint, "e", tmp_path / "home")
    assert not list((tmp_path / "home" / "releases" / "e").glob("[0-9]*"))


def test_how_a_folder_says_that_it_pools_is_heeded(tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "enc", pooling="pooling_mode_cls_token")
    assert read_source(folder, None).pooling == "cls"
    assert read_source(folder, "mean").pooling == "mean"
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(UsageError, match="--pooling"):
        read_source(folder, None)
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(UsageError, match="Dense"):
        read_source(folder, "mean")
    with pytest.raises(UsageError, match="no checkpoint"):
        read_source(tmp_path, None)


def test_an_altered_release_is_refused(exported: Exported, tmp_path: Path) -> None:
    root = tmp_path / "tiny-embed" / "1"
    shutil.copytree(exported.root, root)
    manifest = exported.manifest
    golden = manifest.golden[0].model_copy(update={"vector": manifest.golden[0].vector[::-1]})
    (root / "manifest.json").write_text(manifest.model_copy(update={"golden": (golden,)}).model_dump_json())
    (root / "COMPLETE").write_text(sha256_file(root / "manifest.json"))
    with pytest.raises(GoldenMismatchError, match="vector"):
        load_embedder(root)
    (root / "model" / "tokenizer.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"tokenizer\.json"):
        load_embedder(root)


# the node


def test_texts_and_their_tokens_have_the_same_vectors(node: EmbedderNode, exported: Exported) -> None:
    embedder = load_embedder(exported.root)
    rows = [embedder.tokenizer.encode_whole(text) for text in TEXTS]
    before = node.metric("embedded_texts_total")

    _, by_text = asked(node, of_texts(*TEXTS, id="mine"))
    _, by_rows = asked(node, of_rows(*rows, parameters={"encoding": "base64"}))

    (output,) = by_text["outputs"]
    assert (by_text["model_name"], by_text["model_version"], by_text["id"]) == ("tiny-embed", "1", "mine")
    assert (output["name"], output["datatype"], output["shape"]) == ("embedding", "FP32", [3, 48])
    assert by_text["parameters"] == by_rows["parameters"] == {"tokens": sum(map(len, rows))}
    packed = b"".join(map(base64.b64decode, by_rows["outputs"][0]["data"]))
    assert output["data"] == pytest.approx(struct.unpack("<144f", packed), abs=1e-5)
    assert node.metric("embedded_texts_total") == before + 6
    assert node.metric("infer_requests_total", outcome="embedded") >= 2


def test_who_shares_a_run_changes_no_vector(node: EmbedderNode) -> None:
    alone = asked(node, of_texts(TEXTS[0]))[1]["outputs"][0]["data"]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: asked(node, of_texts(*[TEXTS[0], TEXTS[n % 3]] * (n + 1))), range(8)))

    for number, (status, reply) in enumerate(replies):
        data = reply["outputs"][0]["data"]
        assert (status, len(data)) == (200, 96 * (number + 1))
        assert cosine(data[:48], alone) > 0.99999


def test_a_model_says_that_it_embeds_and_generates_nothing(node: EmbedderNode) -> None:
    with urllib.request.urlopen(f"{node.url}/v2/models/tiny-embed", timeout=5) as response:
        said = json.loads(response.read())
    assert said["parameters"]["task"] == "embed"
    assert said["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 48]}]
    status, reply = asked(node, {"text_input": "?"}, "/v2/models/tiny-embed/generate")
    assert status == 404
    assert "embeds" in reply["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        ([], "object"),
        ({"inputs": 5}, "inputs"),
        ({"inputs": []}, "`text`"),
        (of_rows([5], []), "lengths"),
        (of_rows([5, -1]), "integers"),
        (of_rows([5, 400]), "vocabulary"),
        (of_rows([5] * 65), "64 tokens"),
        (of_rows(*[[5]] * 257), "256"),
        (of_texts("a " * 200), "64 tokens"),
        (of_texts("a", parameters={"encoding": "hex"}), "encoding"),
        (of_texts("a", parameters=[1]), "parameters"),
    ],
)
def test_what_cannot_be_embedded_is_refused_with_words(node: EmbedderNode, body: Any, words: str) -> None:
    before = node.metric("infer_requests_total", outcome="rejected")
    status, reply = asked(node, body)

    assert (status, reply["code"]) == (422, "validation")
    assert words in reply["error"]
    assert node.metric("infer_requests_total", outcome="rejected") == before + 1


# as the gateway asks it


async def test_a_node_says_whether_it_serves_the_model_and_why_it_gives_no_vectors(node: EmbedderNode) -> None:
    async with AsyncExitStack() as stack:

        def at(url: str, model: str = "tiny-embed", version: int = 1) -> HttpEmbedder:
            client = HttpEmbedder(url, model, version)
            stack.push_async_callback(client.aclose)
            return client

        here, nobody, away = at(node.url), at(node.url, "nobody"), at("http://127.0.0.1:9")
        later = at(node.url, version=2)  # whose vectors lie elsewhere
        assert [await one.ready() for one in (here, nobody, away, later)] == [True, False, False, False]
        assert (await here.embedded([[5, 6]], timeout_s=5)).dimensions == 48
        for one in (nobody, away, later):
            with pytest.raises(BackendUnavailableError):
                await one.embedded([[5]], timeout_s=5)
        with pytest.raises(BackendError):
            await here.embedded([[400]], timeout_s=5)


async def test_an_embedder_that_is_stopped_takes_no_more(exported: Exported) -> None:
    embedder = load_embedder(exported.root)
    with pytest.raises(ValidationError):
        await embedder.vectors([[]])
    await embedder.stop()
    with pytest.raises(BackendUnavailableError):
        await embedder.vectors([[5]])
