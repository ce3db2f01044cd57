"""`weir bench gpu`, run on the CPU in a GPU's place: the same engines, rounds and table."""

import json
from pathlib import Path

import pytest
from tests.support.exported import prepared
from tests.support.tiny_graph import lively_checkpoint

from weir import cli
from weir_training.benching.gpu import Seen, table
from weir_training.export import export_flavours
from weir_training.publish import make_release
from weir_training.verify import verified

LOOSE = {"kl": 10.0, "argmax": 0.0, "nll_rise": 10.0, "exact_match_drop": 1.0}


def test_everyone_is_measured_in_the_same_rounds_and_who_cannot_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = prepared(tmp_path, lively_checkpoint(), flavours=["cpu-fp32"], gpu=True, fp16=LOOSE)
    export_flavours(recipe, run.merged, run)
    verified(recipe, run)
    root = make_release(recipe, run, tmp_path / "home").root
    options = ("--users", "1,3", "--tokens", "4", "--prompt-tokens", "6", "--rounds", "2", "--device", "cpu")
    assert cli.run(["bench", "gpu", str(root), *options, "--home", str(tmp_path / "home")]) == 0
    said = capsys.readouterr().out
    for name in ("ort, cuda-fp16", "ort, cuda-int4", "transformers"):
        row = next(line for line in said.splitlines() if line.startswith(f"| {name} |"))
        assert row.count("±") == 2
    assert "genai-paged, cuda-int4-paged: not measured: cuda-int4-paged: PagedAttention has no kernel" in said
    assert "no GPU: the CPU in its place" in said
    (figures,) = (tmp_path / "home" / "bench" / "results").glob("gpu-*.json")
    found = json.loads(figures.read_text())["found"]
    assert {count: len(speeds) for count, speeds in found["cuda-int4"].items()} == {"1": 2, "3": 2}


def test_the_table_is_markdown_with_medians_and_spreads() -> None:
    seen = [Seen("cuda-int4", {1: [90.0, 110.0, 100.0], 8: [800.0]}), Seen("transformers", failed="no\nGPU")]
    lines = table("m", seen, (1, 8), tokens=4, prompt_tokens=2, rounds=3, device="cpu").splitlines()
    assert lines[4:7] == ["| requests at once | 1 | 8 |", "|---|---|---|", "| ort, cuda-int4 | 100 ±10% | 800 ±0% |"]
    assert lines[-1] == "transformers: not measured: no GPU"
