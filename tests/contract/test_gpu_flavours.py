"""Flavours for GPUs, as far as a machine without one can prove them: built here, and run on the CPU."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.support.exported import command, opened, released, verified_for_gpus
from tests.support.tiny_graph import tiny_graph

from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.device import DeviceMissingError, choose_device
from weir.engine.golden import GoldenMismatchError, check_golden
from weir.engine.loading import load_engine, open_model
from weir.engine.session import Graph, GraphSession
from weir.engine.settings import EngineSettings
from weir.engine.slot_model import SlotModel
from weir.engine.step import Detail, Row
from weir.release.reader import open_release
from weir_training.data import read_data
from weir_training.sampling_head import add_sampling_head
from weir_training.verify import verified

GPU = ("cuda-fp16", "cuda-int4", "cuda-int4-paged")
DEVICE_CPU = EngineSettings(threads=1, max_running=4, device="cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the flavours for GPUs, exported and verified on this machine."""
    folder = tmp_path_factory.mktemp("gpu")
    verified_for_gpus(folder)
    return folder


@pytest.fixture(scope="module")
def release(exported: Path) -> Path:
    return released(exported)


def graph_of(folder: Path, flavour: str) -> Graph:
    _, run = opened(folder)
    return Graph(run.onnx(flavour) / "model.onnx", threads=1)


def test_graphs_for_a_gpu_attend_over_many_rows_and_pick_candidates_themselves(exported: Path) -> None:
    import onnx

    _, run = opened(exported)
    found = {}
    for flavour in GPU:
        graph = onnx.load(run.onnx(flavour) / "model.onnx", load_external_data=False).graph
        kinds = [node.op_type for node in graph.node]
        found[flavour] = graph, kinds
        past = next(i for i in graph.input if i.name == "past_key_values.0.key")
        assert past.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        assert ("MatMulNBits" in kinds) == (flavour != "cuda-fp16")
    for flavour in GPU[:2]:
        graph, kinds = found[flavour]
        assert kinds.count("GroupQueryAttention") == 2
        assert {o.name for o in graph.output} >= {"logits", "top_ids", "top_logits", "logsumexp"}
    graph, kinds = found["cuda-int4-paged"]
    assert kinds.count("PagedAttention") == 2
    assert {i.name for i in graph.input} >= {"block_table", "cumulative_sequence_lengths", "past_sequence_lengths"}


def test_sixteen_bits_are_the_checkpoint_and_what_ran_where_is_on_record(exported: Path) -> None:
    recipe, run = opened(exported)
    found = verified(recipe, run).flavours

    assert found["cuda-fp16"].parity.mean_kl < 1e-3
    assert found["cuda-fp16"].parity.argmax_agreement > 0.98
    assert found["cuda-fp16"].parity.device == "cpu"
    assert found["cuda-int4"].parity.measured_as is None


def test_a_paged_graph_has_the_figures_of_its_twin_only_while_its_weights_are_the_same(
    exported: Path, tmp_path: Path
) -> None:
    recipe, run = opened(exported)
    report = verified(recipe, run)
    paged, twin = report.flavours["cuda-int4-paged"].parity, report.flavours["cuda-int4"].parity
    assert (paged.measured_as, paged.mean_kl, paged.passed) == ("cuda-int4", twin.mean_kl, True)

    shutil.copytree(exported, tmp_path / "work")
    recipe, run = opened(tmp_path / "work")
    with (run.onnx("cuda-int4-paged") / "model.onnx.data").open("r+b") as weights:
        weights.write(b"\1\2\3\4")
    parity = verified(recipe, run, rows=read_data(recipe.data).train[-2:]).flavours["cuda-int4-paged"].parity
    assert parity.reasons == ("its weights are not those of cuda-int4",)
    assert not parity.passed


def test_no_flavour_for_a_gpu_is_built_unless_the_recipe_says_so(exported: Path) -> None:
    recipe, _ = opened(exported, "export.gpu=false")
    assert recipe.export.all_flavours == ("cpu-fp32",)


def test_a_paged_flavour_needs_its_twin(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ("--set", "export.flavours=[cpu-fp32, cuda-int4-paged]", "--set", "export.gpu=false")
    assert command(exported, "export", *wrong) == 2
    assert "cuda-int4-paged needs cuda-int4" in capsys.readouterr().err


def test_a_release_with_them_is_served_on_cpus_by_a_flavour_for_cpus(release: Path) -> None:
    manifest = open_release(release).manifest
    assert {found.flavour for found in manifest.formats} == {"cpu-fp32", *GPU}
    assert manifest.serve_flavour == "cpu-fp32"
    assert load_engine(release, None, EngineSettings(threads=1, max_running=2)).info.device == "cpu"


def test_without_a_gpu_its_flavours_say_what_is_missing(release: Path) -> None:
    for flavour, words in (("cuda-int4", "no CUDA provider"), ("cuda-int4-paged", "without CUDA")):
        with pytest.raises(DeviceMissingError, match=words):
            load_engine(release, flavour, EngineSettings(threads=1, max_running=2))
    with pytest.raises(DeviceMissingError, match="no kernel for the CPU"):
        load_engine(release, "cuda-int4-paged", DEVICE_CPU)
    with pytest.raises(DeviceMissingError, match="made for the CPU"):
        choose_device("cpu-fp32", "cuda")


@pytest.mark.parametrize("flavour", GPU[:2])
async def test_the_engine_runs_them_on_the_cpu_when_told_to(release: Path, flavour: str) -> None:
    """Answers of many at once are those of each alone, as far as rounding goes: the golden prompts have been asked."""
    engine = load_engine(release, flavour, DEVICE_CPU)
    expected = open_release(release).format(flavour).golden_greedy_ids
    engine.start()
    try:
        for golden, ids in zip(open_release(release).manifest.golden, expected, strict=True):
            sampling = SamplingParams(max_new_tokens=len(ids))
            asked = GenerateRequest(id="r", prompt=golden.prompt, sampling=sampling, return_tokens=True)
            tokens = [t.id for event in [e async for e in engine.generate(asked)][:-1] for t in event.tokens]
            assert tokens == list(ids)
    finally:
        await engine.stop()


def test_a_wrong_weight_is_noticed_where_kernels_round_differently_too(release: Path, tmp_path: Path) -> None:
    found = open_release(release)
    chosen = found.format("cuda-fp16")
    model = open_model(found, chosen, DEVICE_CPU, threads=1)
    check_golden(model, found.manifest, chosen, DEVICE_CPU, is_exact=False)
    shutil.copytree(release, tmp_path / "1")
    weights = np.fromfile(tmp_path / "1" / "onnx" / "cuda-fp16" / "model.onnx.data", np.float16)
    weights[len(weights) // 2 :] *= np.float16(1.5)
    weights.tofile(tmp_path / "1" / "onnx" / "cuda-fp16" / "model.onnx.data")
    broken = SlotModel(
        GraphSession(
            Graph(tmp_path / "1" / "onnx" / "cuda-fp16" / "model.onnx", threads=1), slots=4, context_tokens=512
        )
    )
    with pytest.raises(GoldenMismatchError, match="golden prompt"):
        check_golden(broken, found.manifest, chosen, DEVICE_CPU, is_exact=False)


class Immovable(GraphSession):
    """As on a GPU, where Python does not move what slots hold; rows between the running ones run along."""

    can_swap = False


def test_rows_between_run_along_and_keep_what_they_hold(exported: Path) -> None:
    """Slots 0 and 3 decode, 1 is half read and 2 holds nothing: whatever ran along, each reads its own past."""
    graph = graph_of(exported, "cuda-fp16")
    texts = [[5 + (7 * n + 3 * k) % 390 for k in range(24)] for n in range(4)]
    still = SlotModel(Immovable(graph, slots=4, context_tokens=64))
    still.run([Row([n], texts[n][:8], 0, 0) for n in (0, 1, 3)])
    for at in range(8, 20):
        said = still.run([Row([n], [texts[n][at]], at, 1, Detail.FULL) for n in (0, 3)])
        for n, [position] in zip((0, 3), said, strict=True):
            np.testing.assert_allclose(position.full, alone(graph, texts[n][: at + 1]), atol=0.05)
    [[position]] = still.run([Row([1], texts[1][8:20], 8, 1, Detail.FULL)])
    np.testing.assert_allclose(position.full, alone(graph, texts[1][:20]), atol=0.05)


def alone(graph: Graph, tokens: list[int]) -> np.ndarray:
    [[position]] = SlotModel(GraphSession(graph, slots=1, context_tokens=64)).run([Row([0], tokens, 0, 1, Detail.FULL)])
    return position.full.copy()


@pytest.mark.parametrize("detail", [Detail.GREEDY, Detail.TOP])
def test_what_the_graph_picks_out_is_what_its_logits_say(exported: Path, detail: Detail) -> None:
    graph = graph_of(exported, "cuda-int4")
    model = SlotModel(GraphSession(graph, slots=4, context_tokens=64))
    assert graph.candidates == model.candidates == 64
    for tokens in ([7, 8, 9], [7]):
        row = [Row([0], tokens, 0, 1, detail), Row([1], [30], 0, 1, detail)]
        full = [Row(r.blocks, r.tokens, 0, 1, Detail.FULL) for r in row]
        for [short], [whole] in zip(model.run(row), model.run(full), strict=True):
            assert short.best == whole.best
            assert short.full is None
            if detail is Detail.TOP:
                assert short.ids.tolist() == whole.ids.tolist()
                np.testing.assert_allclose(short.logits, whole.logits, atol=1e-2)
                assert short.logsumexp == pytest.approx(whole.logsumexp, abs=1e-3)


def test_a_graph_that_gives_every_position_gets_no_sampling_head(tmp_path: Path) -> None:
    shutil.copy(tiny_graph("fp32", pruned=False) / "model.onnx", tmp_path)
    with pytest.raises(ValueError, match="one position per row"):
        add_sampling_head(tmp_path / "model.onnx")
