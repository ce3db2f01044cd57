"""A packed graph with output rows for some tokens: the same logits for those, and a release that says nothing else."""

import asyncio
import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tiny_adapter import make_adapter
from tests.support.tiny_checkpoint import faq_rows, make_tiny_checkpoint
from tests.support.tiny_graph import CONTEXT_TOKENS, tiny_graph, trimmed_graph

from weir import cli
from weir.contracts.errors import JobError
from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.kernels.library import operators
from weir.engine.loading import load_engine
from weir.engine.logprobs import NEVER
from weir.engine.packed_model import PackedGraph, PackedModel
from weir.engine.runner import greedy_ids
from weir.engine.settings import EngineSettings
from weir.engine.step import Detail, Row
from weir.release.reader import open_release
from weir_training.data import read_data
from weir_training.export import export_flavours
from weir_training.golden import rendered_rows
from weir_training.packed_graph import build_packed
from weir_training.publish import make_release
from weir_training.recipe import Recipe, load_recipe
from weir_training.rundir import RunDirectory, open_run
from weir_training.verify import verified

pytestmark = pytest.mark.skipif(operators() is None, reason="no C compiler built the operators here")
EACH = CONTEXT_TOKENS // 16
KEPT = tuple(sorted(np.random.default_rng(3).choice(400, 217, replace=False).tolist()))


@cache
def whole() -> PackedModel:
    graph = PackedGraph(tiny_graph("packed8") / "model.onnx", threads=2)
    return PackedModel(graph, blocks=4 * EACH, context_tokens=CONTEXT_TOKENS)


@cache
def trimmed(kept: tuple[int, ...] = KEPT) -> PackedModel:
    graph = PackedGraph(trimmed_graph("packed8", kept) / "model.onnx", threads=2)
    return PackedModel(graph, blocks=4 * EACH, context_tokens=CONTEXT_TOKENS)


def ids(count: int, seed: int = 0) -> list[int]:
    """Any tokens, kept or not: a prompt may hold what is never said."""
    return np.random.default_rng(seed).integers(5, 300, count).tolist()


def masked(full: np.ndarray, kept: tuple[int, ...] = KEPT) -> np.ndarray:
    only = np.full_like(full, -np.inf)
    only[..., list(kept)] = full[..., list(kept)]
    return only


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_kept_logits_are_the_whole_graphs_to_the_last_bit_and_all_others_minus_infinity(count: int, seed: int) -> None:
    row = Row(range(EACH), ids(count, seed), 0, count, Detail.FULL)
    [expected], [found] = whole().run([row]), trimmed().run([row])

    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(other.full, masked(one.full))


def test_tokens_keep_their_ids_and_the_vocabulary_its_size() -> None:
    [[position]] = trimmed().run([Row(range(EACH), ids(12), 0, 1, Detail.FULL)])

    assert trimmed().vocab_size == whole().vocab_size == len(position.full) == 400
    assert set(position.ids.tolist()) <= set(KEPT)
    np.testing.assert_array_equal(position.logits, position.full[position.ids])


def test_every_detail_names_the_likeliest_kept_token() -> None:
    for seed in range(20):
        [[expected]] = whole().run([Row(range(EACH), ids(12, seed), 0, 1, Detail.FULL)])
        only = masked(expected.full)
        order = np.lexsort((np.arange(len(only)), -only))[: trimmed().candidates]
        for detail in Detail:
            [[found]] = trimmed().run([Row(range(EACH), ids(12, seed), 0, 1, detail)])
            assert found.best == int(only.argmax())
            if detail >= Detail.TOP:
                np.testing.assert_array_equal(found.ids, order)
                kept = only[list(KEPT)].astype(np.float64)
                assert found.logsumexp == pytest.approx(float(np.log(np.exp(kept).sum())), abs=1e-5)


def test_rows_of_other_detail_in_a_step_change_nothing() -> None:
    rows = [
        Row(range(EACH), ids(9, 1), 0, 3, Detail.GREEDY),
        Row(range(EACH, 2 * EACH), ids(7, 2), 0, 2, Detail.FULL),
        Row(range(2 * EACH, 3 * EACH), ids(8, 3), 0, 1, Detail.TOP),
    ]
    together = [[(p.best, None if p.full is None else p.full.copy()) for p in row] for row in trimmed().run(rows)]
    alone = [[(p.best, p.full) for p in trimmed().run([row])[0]] for row in (rows[0], rows[2])]

    assert [best for best, _ in together[0]] == [best for best, _ in alone[0]]
    assert together[2][0][0] == alone[1][0][0]
    [expected] = whole().run([rows[1]])
    for (_, full), one in zip(together[1], expected, strict=True):
        np.testing.assert_array_equal(full, masked(one.full))


def test_fewer_tokens_than_candidates_are_all_candidates() -> None:
    few = KEPT[:20]
    [[position]] = trimmed(few).run([Row(range(EACH), ids(12), 0, 1, Detail.TOP)])

    assert trimmed(few).candidates == 20
    assert sorted(position.ids.tolist()) == list(few)


def test_the_embedding_stays_whole_and_a_smaller_head_is_packed_beside_it() -> None:
    size = {
        name: (folder / "model.onnx.data").stat().st_size
        for name, folder in {"whole": tiny_graph("packed8"), "cut": trimmed_graph("packed8", KEPT)}.items()
    }
    hidden, padding = 64, 32
    saved = (400 - len(KEPT)) * (hidden + 4)  # the checkpoint is not tied: a head was there before

    assert size["whole"] - size["cut"] == pytest.approx(saved, abs=padding * (hidden + 4) + 4096)


LOOSE = {"kl": 10.0, "argmax": 0.0, "nll_rise": 10.0, "exact_match_drop": 1.0}


def prepared(folder: Path, vocabulary: dict[str, object]) -> tuple[Recipe, RunDirectory]:
    folder.mkdir(parents=True)
    (folder / "faq.jsonl").write_text("\n".join(json.dumps(row) for row in faq_rows(20)) + "\n")
    unseen = {"prompt": "What is the capital of France?", "completion": "The quick brown fox jumps over it."}
    (folder / "heldout.jsonl").write_text(json.dumps(unseen) + "\n")
    tree = {
        "name": "tiny",
        "model": {"base": str(folder / "base")},
        "data": {"train": ["faq.jsonl"], "heldout": "heldout.jsonl"},
        "optim": {"threads": 1},
        "export": {"flavours": ["cpu-fp32", "cpu-packed8"], "int8": LOOSE, "vocabulary": vocabulary},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree))
    recipe = load_recipe(folder / "recipe.yaml")
    base = make_tiny_checkpoint(folder / "base", initializer_range=0.2)
    run = open_run(folder / "home", recipe)
    shutil.copytree(base, run.merged)
    return recipe, run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe, RunDirectory]:
    folder = tmp_path_factory.mktemp("trimmed") / "work"
    recipe, run = prepared(folder, {"keep": "data"})
    export_flavours(recipe, run.merged, run)
    verified(recipe, run)
    return folder, recipe, run


def test_verify_says_how_many_tokens_are_left_and_what_the_others_weighed(
    finished: tuple[Path, Recipe, RunDirectory],
) -> None:
    _, recipe, run = finished
    flavours = verified(recipe, run).flavours
    cut, reference = flavours["cpu-packed8"].parity, flavours["cpu-fp32"].parity
    counted = (run.metrics("export") or {})["cpu-packed8"]

    assert cut.kept_tokens == counted["kept_tokens"] == sum(counted["kept_for"].values()) < 400
    assert 0.0 < cut.lost_mass < 1.0
    assert cut.mean_kl >= -np.log1p(-cut.lost_mass) - 1e-9  # by Jensen, the mean of the logarithms is no less
    assert np.isfinite(cut.nll)
    assert cut.nll < 1e9
    assert cut.heldout_cut
    assert (reference.kept_tokens, reference.lost_mass, reference.heldout_cut) == (None, 0.0, None)


def test_what_is_lost_counts_against_the_gate(finished: tuple[Path, Recipe, RunDirectory], tmp_path: Path) -> None:
    folder, _, run = finished
    shutil.copytree(run.root, tmp_path / "run")
    recipe = load_recipe(folder / "recipe.yaml", ("export.int8.kl=0.001",))
    parity = verified(recipe, RunDirectory(tmp_path / "run")).flavours["cpu-packed8"].parity

    assert not parity.passed
    assert any("mean KL" in reason for reason in parity.reasons)


def test_other_data_or_languages_export_again_and_the_same_do_not(
    finished: tuple[Path, Recipe, RunDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    from weir_training import export

    class BuiltError(Exception):
        pass

    def build(*_: object) -> dict[str, float]:
        raise BuiltError

    folder, recipe, run = finished
    monkeypatch.setattr(export, "_run_builder", build)
    export_flavours(recipe, run.merged, run)
    with pytest.raises(BuiltError):
        export_flavours(load_recipe(folder / "recipe.yaml", ("export.vocabulary.languages=[en]",)), run.merged, run)
    with pytest.raises(BuiltError):
        export_flavours(load_recipe(folder / "recipe.yaml", ("export.vocabulary.keep=whole",)), run.merged, run)


def test_the_command_counts_what_it_kept(
    finished: tuple[Path, Recipe, RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, recipe, run = finished
    kept = (run.metrics("export") or {})["cpu-packed8"]["kept_tokens"]

    assert cli.run(["export", str(folder / "recipe.yaml"), "--home", str(folder / "home")]) == 0
    assert f"{kept} of 400 tokens" in capsys.readouterr().out
    assert recipe.export.vocabulary.keep == "data"


async def said(root: Path, sampling: SamplingParams, *prompts: str) -> list[list[int]]:
    engine = load_engine(root, "cpu-packed8", EngineSettings(threads=1, max_running=4))
    engine.start()

    async def answer(number: int, prompt: str) -> list[int]:
        request = GenerateRequest(id=f"r{number}", prompt=prompt, sampling=sampling, return_tokens=True)
        tokens = []
        async for event in engine.generate(request):
            if isinstance(event, TokenChunk):
                assert all(np.isfinite(token.logprob) for token in event.tokens)
                tokens += [token.id for token in event.tokens]
        return tokens

    try:
        return list(await asyncio.gather(*(answer(n, prompt) for n, prompt in enumerate(prompts))))
    finally:
        await engine.stop()


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(max_new_tokens=40, ignore_eos=True),
        SamplingParams(max_new_tokens=40, ignore_eos=True, repetition_penalty=1.3),
        SamplingParams(max_new_tokens=40, ignore_eos=True, temperature=5.0, seed=1),
        SamplingParams(max_new_tokens=40, ignore_eos=True, temperature=5.0, seed=1, top_k=390, top_p=0.99),
        SamplingParams(max_new_tokens=40, ignore_eos=True, temperature=100.0, seed=2, repetition_penalty=0.7),
    ],
    ids=["greedy", "penalty", "hot", "hot, more than are kept", "nearly uniform"],
)
def test_a_published_release_says_kept_tokens_only_however_it_is_sampled(
    finished: tuple[Path, Recipe, RunDirectory], sampling: SamplingParams
) -> None:
    folder, recipe, run = finished
    root = make_release(recipe, run, folder / "home").root
    kept = set(PackedGraph(run.onnx("cpu-packed8") / "model.onnx", threads=1).kept.tolist())
    answers = asyncio.run(
        said(root, sampling, "Question 3?", "The quick brown fox jumps over the lazy dog", "怎么退货？")
    )

    assert all(len(tokens) == 40 for tokens in answers)
    assert {token for tokens in answers for token in tokens} <= kept
    assert open_release(root).manifest.format_of("cpu-packed8").parity.kept_tokens == len(kept)


async def scores_of(root: Path, prompt: str) -> list[tuple[int, float | None]]:
    engine = load_engine(root, "cpu-packed8", EngineSettings(threads=1, max_running=4))
    engine.start()
    sampling = SamplingParams(max_new_tokens=1, ignore_eos=True, prompt_logprobs=20)
    try:
        scores: list[tuple[int, float | None]] = []
        async for event in engine.generate(GenerateRequest(id="r", prompt=prompt, sampling=sampling)):
            if isinstance(event, TokenChunk):
                scores += [(token.id, token.logprob) for token in event.prompt]
        return scores
    finally:
        await engine.stop()


def test_a_prompts_token_that_was_cut_is_scored_as_never(finished: tuple[Path, Recipe, RunDirectory]) -> None:
    folder, recipe, run = finished
    root = make_release(recipe, run, folder / "home").root
    kept = set(PackedGraph(run.onnx("cpu-packed8") / "model.onnx", threads=1).kept.tolist())
    (_, first), *others = asyncio.run(scores_of(root, "Zebras vex 42 quizzical jackdaws; 怎么退货？"))

    assert first is None
    assert {token for token, logprob in others if logprob == NEVER} == {token for token, _ in others} - kept != set()
    assert all(NEVER <= logprob <= 0 for _, logprob in others)


def test_an_adapter_is_not_served_with_a_vocabulary_cut_to_other_data(
    finished: tuple[Path, Recipe, RunDirectory], tmp_path: Path
) -> None:
    folder, recipe, run = finished
    adapter = make_adapter(run.merged, tmp_path / "adapter", rank=2, targets=["q_proj"])

    with pytest.raises(
        JobError, match=r"adapter adapter: .*cut from this release's vocabulary.*vocabulary\.keep: whole"
    ):
        make_release(recipe, run, folder / "home", adapters={"adapter": adapter})


def test_trained_answers_are_what_the_whole_vocabulary_says_where_those_are_kept(tmp_path: Path) -> None:
    """A random model would say anything; what it says with all tokens is what may not be cut here."""
    recipe, run = prepared(tmp_path / "work", {"keep": "whole"})
    export_flavours(recipe, run.merged, run)
    graph = PackedGraph(run.onnx("cpu-packed8") / "model.onnx", threads=1)
    prompts = [row.prompt_ids for row in rendered_rows(read_data(recipe.data).train, run.merged, eos_ids=(3,))]

    def answers(graph: PackedGraph) -> list[list[int]]:
        model = PackedModel(graph, blocks=32, context_tokens=512)
        return [greedy_ids(model, list(prompt), 16, chunk_tokens=64) for prompt in prompts]

    expected = answers(graph)
    kept = sorted({token for answer in expected for token in answer})
    (tmp_path / "cut").mkdir()
    build_packed(run.merged, tmp_path / "cut", bits=8, block=32, kept=kept)

    assert len(kept) < 400
    assert answers(PackedGraph(tmp_path / "cut" / "model.onnx", threads=1)) == expected
