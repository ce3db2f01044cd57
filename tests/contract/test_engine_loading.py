"""A release loads into an engine, or is refused with the reason."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny_graph import CONTEXT_TOKENS, tiny_graph
from tests.support.tiny_release import PROMPTS, golden_ids, make_tiny_release, write_manifest

from weir.backends.local import LocalBackend
from weir.contracts.errors import BackendTimeoutError, ReleaseError, UnknownModelError
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.golden import GoldenMismatchError
from weir.engine.loading import load_engine
from weir.engine.session import Graph
from weir.engine.settings import EngineSettings


def ask(*, max_new_tokens: int, tokens: bool = False) -> GenerateRequest:
    sampling = SamplingParams(max_new_tokens=max_new_tokens, ignore_eos=True)
    return GenerateRequest(id="r", prompt=PROMPTS[0], sampling=sampling, return_tokens=tokens)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_release(tmp_path_factory.mktemp("releases"))


@pytest.mark.parametrize("flavour", [None, "cpu-int8"])
async def test_a_release_loads_and_answers_its_golden_prompts(release: Path, flavour: str | None) -> None:
    engine = load_engine(release, flavour, EngineSettings(threads=2))
    backend = LocalBackend("local", engine)
    assert not await backend.ready()
    engine.start()
    assert await backend.ready()
    await backend.load("tiny", 1)
    with pytest.raises(UnknownModelError):
        await backend.load("tiny", 2)
    events = [e async for e in backend.generate(ask(max_new_tokens=16, tokens=True), timeout_s=5)]
    ids = tuple(t.id for e in events[:-1] for t in e.tokens)
    assert ids == golden_ids("fp32" if flavour is None else "int8")[0]
    with pytest.raises(BackendTimeoutError):
        [e async for e in backend.generate(ask(max_new_tokens=400), timeout_s=1e-6)]
    await backend.aclose()
    assert not await backend.ready()


def test_an_altered_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    root = make_tiny_release(tmp_path, precisions=("fp32",))
    weights = root / "onnx" / "cpu-fp32" / "model.onnx.data"
    raw = bytearray(weights.read_bytes())
    raw[1000] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(ReleaseError, match="sha256 differs"):
        load_engine(root, None, EngineSettings())


def test_a_graph_that_answers_otherwise_than_released_is_refused(tmp_path: Path) -> None:
    root = make_tiny_release(tmp_path, precisions=("fp32",))
    weights = root / "onnx" / "cpu-fp32" / "model.onnx.data"
    values = np.frombuffer(weights.read_bytes(), np.float32).copy()
    values[: len(values) // 2] *= -1
    weights.write_bytes(values.tobytes())
    write_manifest(root, model="tiny", version=1, precisions=("fp32",))  # vouched for, and wrong
    with pytest.raises(GoldenMismatchError, match="golden prompt 0"):
        load_engine(root, None, EngineSettings())


@pytest.mark.parametrize(
    ("flavour", "settings", "words"),
    [
        ("cpu-int4", EngineSettings(), "no flavour"),
        (None, EngineSettings(kv_budget_bytes=1000), "budget"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(release: Path, flavour, settings, words) -> None:
    with pytest.raises(ReleaseError, match=words):
        load_engine(release, flavour, settings)


def test_the_memory_budget_decides_how_many_run_together(release: Path) -> None:
    one = Graph(tiny_graph("fp32") / "model.onnx", threads=1).cache.bytes_per_slot(CONTEXT_TOKENS)
    assert load_engine(release, None, EngineSettings(kv_budget_bytes=3 * one)).stats.slots == 3
    assert load_engine(release, None, EngineSettings(kv_budget_bytes=one, max_context_tokens=128)).stats.slots == 4


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ReleaseError, match="does not load"):
        Graph(tmp_path / "model.onnx", threads=1)


def test_files_that_are_not_read_are_not_hashed_but_must_be_there(tmp_path: Path) -> None:
    root = make_tiny_release(tmp_path, precisions=("fp32", "int8"))
    weights = root / "onnx" / "cpu-int8" / "model.onnx.data"
    weights.write_bytes(bytes(len(weights.read_bytes())))

    assert load_engine(root, "cpu-fp32", EngineSettings()).info.flavour == "cpu-fp32"
    with pytest.raises(ReleaseError, match="sha256 differs"):
        load_engine(root, "cpu-int8", EngineSettings())
    weights.unlink()
    with pytest.raises(ReleaseError, match="is missing"):
        load_engine(root, "cpu-fp32", EngineSettings())
