"""LoRA adapters beside a packed graph: each row its own, equal to the checkpoint with that adapter."""

import asyncio
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tiny_adapter import make_adapter
from tests.support.tiny_graph import CONTEXT_TOKENS, lively_checkpoint, tiny_graph

from weir.contracts.errors import ReleaseError, UsageError, ValidationError
from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.adapters import Adapter, read_adapter
from weir.engine.engine import Engine, EngineInfo
from weir.engine.kernels.library import operators
from weir.engine.packed_model import PackedGraph, PackedModel
from weir.engine.settings import EngineSettings
from weir.engine.step import Detail, Row
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.adapter_proof import parse_adapters

pytestmark = pytest.mark.skipif(operators() is None, reason="no C compiler built the operators here")
EACH = CONTEXT_TOKENS // 16


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """PEFT's own files of two random adapters of different rank; one touches every layer, one only attention."""
    root = tmp_path_factory.mktemp("adapters")
    return {
        "all": make_adapter(lively_checkpoint(), root / "all", rank=8, targets="all-linear"),
        "some": make_adapter(lively_checkpoint(), root / "some", rank=3, targets=("q_proj", "v_proj"), seed=1),
    }


@pytest.fixture(scope="module")
def adapters(folders: dict[str, Path]) -> tuple[Adapter, ...]:
    return tuple(read_adapter(folder) for folder in folders.values())


@cache
def graph(precision: str) -> PackedGraph:
    return PackedGraph(tiny_graph(precision) / "model.onnx", threads=2)


def model(adapters: tuple[Adapter, ...], precision: str = "packed8") -> PackedModel:
    return PackedModel(graph(precision), blocks=6 * EACH, context_tokens=CONTEXT_TOKENS, adapters=adapters)


def ids(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(5, 300, count).tolist()


def logits(runs: PackedModel, rows: list[Row]) -> list[np.ndarray]:
    return [np.stack([position.full.copy() for position in found]) for found in runs.run(rows)]


def test_a_row_with_an_adapter_answers_as_the_checkpoint_with_it(folders, adapters) -> None:
    from weir_training.checkpoint import Checkpoint

    tokens = ids(60)
    rows = [Row(range(at * EACH, (at + 1) * EACH), tokens, 0, 60, Detail.FULL, adapter=at - 1) for at in range(3)]
    found = logits(model(adapters), rows)
    exact = [
        Checkpoint(lively_checkpoint(), threads=1, adapter=folder).logits([tokens])[0]
        for folder in (None, folders["all"], folders["some"])
    ]

    for at, got in enumerate(found):
        far = [float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted)) for wanted in exact]
        assert far[at] < 0.25  # random weights, scaled up: the worst case for rounding
        assert min(far[:at] + far[at + 1 :]) > 2 * far[at]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-1, 1), min_size=1, max_size=6), st.sampled_from(["packed8", "packed4"]), st.data())
def test_whose_adapters_share_the_batch_makes_no_difference(adapters, chosen: list[int], precision: str, data) -> None:
    runs = model(adapters, precision)
    lengths = [data.draw(st.integers(1, 30)) for _ in chosen]
    rows = [
        Row(range(at * EACH, (at + 1) * EACH), ids(length, at), 0, length, Detail.FULL, adapter)
        for at, (length, adapter) in enumerate(zip(lengths, chosen, strict=True))
    ]
    together = logits(runs, rows)

    for row, got in zip(rows, together, strict=True):
        np.testing.assert_array_equal(logits(runs, [row])[0], got)


def test_an_adapter_that_the_graph_does_not_hold_is_refused(adapters) -> None:
    with pytest.raises(Exception, match="no such adapter"):
        model(adapters).run([Row(range(EACH), [5, 6], 0, adapter=2)])


@pytest.fixture
def engine(adapters):
    info = EngineInfo("tiny", 1, "cpu-packed8", 2, (3,), tuple(adapter.name for adapter in adapters))
    tokenizer = ReleaseTokenizer(lively_checkpoint() / "tokenizer.json")
    made = Engine(model(adapters), tokenizer, info, settings=EngineSettings())
    made.start()
    return made


async def answer(engine: Engine, adapter: str | None, prompt: str = "How do I return an order? " * 3) -> str:
    sampling = SamplingParams(max_new_tokens=24, ignore_eos=True)
    request = GenerateRequest(id="r", prompt=prompt, sampling=sampling, adapter=adapter)
    return "".join([e.text async for e in engine.generate(request) if isinstance(e, TokenChunk)])


async def test_prefixes_are_not_shared_between_adapters(engine: Engine) -> None:
    first = {name: await answer(engine, name) for name in (None, "all", "some")}
    again = {name: await answer(engine, name) for name in ("some", None, "all")}
    await engine.stop()

    assert first == again
    assert len(set(first.values())) == 3


async def test_adapters_come_and_go_while_others_are_served(engine: Engine, folders, adapters) -> None:
    """Each answers as it does in an engine that had it from the start, to the last token."""
    sampling = SamplingParams(max_new_tokens=300, ignore_eos=True)
    long = GenerateRequest(id="long", prompt="Where is my parcel? ", sampling=sampling, adapter="some")
    alone = "".join([e.text async for e in engine.generate(long) if isinstance(e, TokenChunk)])
    wanted = {name: await answer(engine, name) for name in (None, "all", "some")}
    events = engine.generate(long)
    said = [await anext(events)]

    larger = make_adapter(lively_checkpoint(), folders["all"].parent / "larger", rank=11, targets="all-linear", seed=5)
    await engine.add_adapter(read_adapter(larger))
    assert engine.adapters == ("all", "some", "larger")
    found = {name: await answer(engine, name) for name in (None, "all", "some")}
    fresh = await answer(engine, "larger")
    await engine.remove_adapter("all")
    with pytest.raises(ValidationError, match="this release serves: some, larger"):
        await answer(engine, "all")
    again = await answer(engine, "larger")
    said += [event async for event in events]
    await engine.stop()

    assert found == wanted
    assert fresh == again
    assert fresh not in wanted.values()
    assert "".join(e.text for e in said if isinstance(e, TokenChunk)) == alone


async def test_an_adapter_that_leaves_ends_the_answers_that_it_began(engine: Engine) -> None:
    sampling = SamplingParams(max_new_tokens=200, ignore_eos=True)
    asked = GenerateRequest(id="r", prompt="How do I return an order?", sampling=sampling, adapter="some")
    alone = "".join([e.text async for e in engine.generate(asked) if isinstance(e, TokenChunk)])
    events = engine.generate(asked)
    said = [await anext(events)]

    removed = asyncio.create_task(engine.remove_adapter("some"))
    await asyncio.sleep(0)
    with pytest.raises(ValidationError):
        await answer(engine, "some")
    said += [event async for event in events]
    await removed
    await engine.stop()

    assert "".join(e.text for e in said if isinstance(e, TokenChunk)) == alone


async def test_another_adapter_of_the_same_name_finds_nothing_that_the_first_one_read(engine: Engine, folders) -> None:
    """A shared prefix would make the first answer after the change a mixture of both."""
    first = await answer(engine, "some")
    other = make_adapter(
        lively_checkpoint(), folders["all"].parent / "x" / "some", rank=3, targets="all-linear", seed=9
    )

    await engine.add_adapter(read_adapter(other))
    second, cached = await answer(engine, "some"), engine.stats.cached_blocks
    await engine.remove_adapter("some")
    await engine.add_adapter(read_adapter(other))
    third = await answer(engine, "some")
    hot, grown = engine.stats.cached_blocks, cached
    await engine.stop()

    assert first != second
    assert second == third
    assert hot > grown  # read again: nothing is shared even with its former self


async def test_an_unknown_adapter_is_refused_by_name(engine: Engine) -> None:
    with pytest.raises(ValidationError, match="this release serves: all, some") as refused:
        await answer(engine, "other")
    await engine.stop()
    assert refused.value.field == "adapter"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "trained biases"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"peft_type": "IA3"}, "kind IA3"),
        ({"r": 0}, "rank 0"),
        ({"r": "many"}, "not a LoRA adapter"),
    ],
)
def test_other_kinds_of_adapters_are_refused(folders, tmp_path: Path, change: dict, words: str) -> None:
    for file in folders["all"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | change))

    with pytest.raises(ReleaseError, match=words):
        read_adapter(tmp_path)


def test_an_adapter_of_another_model_is_refused(adapters) -> None:
    stranger = Adapter(
        "stranger", 1, {"model.layers.9.mlp.up_proj": (np.zeros((1, 64), "f4"), np.zeros((128, 1), "f4"))}
    )
    wrong = Adapter("wrong", 1, {"model.layers.0.mlp.up_proj": (np.zeros((1, 32), "f4"), np.zeros((128, 1), "f4"))})

    with pytest.raises(ReleaseError, match=r"no module model\.layers\.9"):
        model((stranger,))
    with pytest.raises(ReleaseError, match="another shape"):
        model((wrong,))


@pytest.mark.parametrize("text", ["nothing", "=x", "a=/no/such/folder"])
def test_an_adapter_option_is_a_name_and_a_folder(text: str) -> None:
    with pytest.raises(UsageError, match="--adapter"):
        parse_adapters([text])
