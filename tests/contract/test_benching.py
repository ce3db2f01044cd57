"""`weir bench engine` on small models: the real model, engine and node, without peers."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.tiny_release import make_tiny_release

from weir import cli
from weir.release.reader import open_release
from weir_training.benching import shapes
from weir_training.benching.bench_release import NOT_GATED

QUICK = ("--users", "1,2", "--rounds", "1", "--steps", "4", "--threads", "1")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_release(tmp_path_factory.mktemp("releases"), precisions=("int8", "fp32"))


def bench(capsys: pytest.CaptureFixture[str], home: Path, name: str, *options: str) -> dict[str, Any]:
    assert cli.run(["bench", "engine", name, "--home", str(home), "--json", *QUICK, *options]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_model_and_engine_of_every_flavour_are_measured_and_one_is_chosen(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = bench(capsys, tmp_path, str(release), "--choose", "--kl")

    contestants = said["decode"]["contestants"]
    names = [f"weir cpu-{precision} ({level})" for precision in ("int8", "fp32") for level in ("model", "engine")]
    assert [one["name"] for one in contestants] == names
    for one in contestants:
        assert one["failed"] is None
        assert set(one["figures"]) == {"prefill", "1", "2"}
        assert all(figure["tokens_per_s"] > 0 for figure in one["figures"].values())
        assert one["rss_bytes"] > 10_000_000
    int8, fp32 = contestants[0]["kl"], contestants[2]["kl"]
    assert 0 <= fp32 < 1e-6 < int8 < 0.1
    assert [one["kl"] for one in contestants[1::2]] == [None, None]  # the engine shows no logits
    assert contestants[2]["bytes_per_weight"] > contestants[0]["bytes_per_weight"]
    assert said["choice"]["flavour"] in {"cpu-int8", "cpu-fp32"}
    [figures] = (tmp_path / "bench" / "results").glob("*.json")
    assert json.loads(figures.read_text(encoding="utf-8"))["decode"] == said["decode"]
    assert figures.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_peer_that_cannot_be_had_is_reported_and_the_rest_is_measured(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no cmake here
    said = bench(capsys, tmp_path, str(release), "--flavours", "cpu-int8", "--peer", "llama-cpp")

    assert [one["name"] for one in said["decode"]["unavailable"]] == ["llama-cpp Q8_0", "llama-cpp Q4_0"]
    assert "cmake, make, c++ not found" in said["decode"]["unavailable"][0]["reason"]
    assert len(said["decode"]["contestants"]) == 2


def test_arriving_requests_and_requests_over_http_are_answered_to_the_last_token(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--flavours", "cpu-int8", "--no-decode", "--trace", "--rate", "50", "--requests", "6", "--serve")
    said = bench(capsys, tmp_path, str(release), *options)

    [engine] = said["trace"]["contestants"]
    assert engine["failed"] is None
    assert len(engine["repeats"][0]) == 6
    assert all(0 < a["first_s"] <= a["total_s"] and a["tokens"] >= 8 for a in engine["repeats"][0])
    inside, node = said["serve"]["contestants"]
    assert [inside["name"], node["name"]] == ["weir cpu-int8 (engine)", "weir cpu-int8 (node HTTP)"]
    assert inside["failed"] is node["failed"] is None
    assert {a["tokens"] for one in (inside, node) for a in one["repeats"][0]} == {128}
    assert said["serve"]["http_share"]["cpu-int8"] > 0


def test_a_flavour_that_the_release_has_not_is_a_usage_error(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "engine", str(release), "--home", str(tmp_path), "--flavours", "cpu-int2"]

    assert cli.run(arguments) == 2
    assert "no flavour cpu-int2 (it has cpu-int8, cpu-fp32)" in capsys.readouterr().err


def test_a_shape_becomes_a_release_that_says_it_was_not_gated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {
        "model_type": "llama",
        "vocab_size": 1000,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    monkeypatch.setitem(shapes.SHAPES, "small", small)
    said = bench(capsys, tmp_path, "small", "--flavours", "cpu-w8a8")
    made = open_release(tmp_path / "bench" / "shapes" / "small" / "release" / "small" / "1")

    assert [one["name"] for one in said["decode"]["contestants"]] == ["weir cpu-w8a8 (model)", "weir cpu-w8a8 (engine)"]
    assert [one["kl"] for one in said["decode"]["contestants"]] == [None, None]  # says nothing on random weights
    assert not made.manifest.gate_passed
    assert made.format("cpu-w8a8").parity.reasons[0] == NOT_GATED
    assert 0 < made.format("cpu-w8a8").parity.mean_kl < 0.1
    assert made.manifest.lineage.base == "random-weights:small"
    assert not (tmp_path / "releases").exists()
