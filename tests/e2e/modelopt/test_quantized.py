"""NVIDIA ModelOpt itself, on the CPU: its environment is made on first use, so these are among the soaks."""

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml
from tests.e2e.clients.environments import ROOT, Environment
from tests.support.exported import opened, prepared
from tests.support.tiny_graph import lively_checkpoint

from weir.release.reader import open_release
from weir_training.export import export_flavours
from weir_training.publish import make_release
from weir_training.quantise import Kind, folder_of
from weir_training.triton_tensorrt_llm import write_tensorrt_llm_entry
from weir_training.verify import verified

pytestmark = [pytest.mark.soak, pytest.mark.e2e]
ENVIRONMENT = Environment("modelopt", Path(__file__).parent)
LOOSE = {"kl": 10.0, "argmax": 0.0, "nll_rise": 10.0, "exact_match_drop": 1.0}


@pytest.fixture(scope="module")
def python() -> Path:
    """ModelOpt and what it needs, beside everything of this environment (torch among it)."""
    made = ENVIRONMENT.made()
    site = made.folder / "lib" / "python3.11" / "site-packages"
    (site / "weir.pth").write_text(f"{ROOT / 'services'}\n{ROOT / 'training'}\n{sysconfig.get_path('purelib')}\n")
    return made.python


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Path:
    folder = tmp_path_factory.mktemp("quantized")
    recipe, run = prepared(folder, lively_checkpoint(), flavours=["cpu-fp32"], fp8=LOOSE, int4=LOOSE)
    export_flavours(recipe, run.merged, run)
    code = "import sys; from weir.cli import run; sys.exit(run(sys.argv[1:]))"
    arguments = ("export", str(folder / "recipe.yaml"), "--home", str(folder / "home"))
    done = subprocess.run(
        [str(python), "-c", code, *arguments, "--quantize", "fp8", "--quantize", "int4_awq", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (folder / "said.json").write_text(done.stdout.strip().splitlines()[-1])
    verified(recipe, run)
    return folder


def test_both_forms_are_measured_and_written_as_servers_read_them(folder: Path) -> None:
    said = json.loads((folder / "said.json").read_text())["quantised"]
    assert set(said) == {"fp8", "int4_awq"}
    assert 0 < said["fp8"]["parity"]["mean_kl"] < said["int4_awq"]["parity"]["mean_kl"]
    _, run = opened(folder)
    for kind, algorithm in ((Kind.FP8, "FP8"), (Kind.INT4_AWQ, "W4A16_AWQ")):
        written = json.loads((folder_of(run, kind) / "hf_quant_config.json").read_text())
        assert written["quantization"]["quant_algo"] == algorithm
        assert (folder_of(run, kind) / "tokenizer.json").is_file()
        assert (folder_of(run, kind) / "model.safetensors").is_file()


def test_eight_bits_stand_for_the_checkpoints_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    _, run = opened(folder)
    whole, eight = (
        load_file(run.merged / "model.safetensors"),
        load_file(folder_of(run, Kind.FP8) / "model.safetensors"),
    )
    name = "model.layers.0.mlp.up_proj.weight"
    assert eight[name].dtype is torch.float8_e4m3fn
    stands_for = eight[name].float() * eight[name.replace("weight", "weight_scale")]
    assert float((stands_for - whole[name]).abs().max() / whole[name].abs().max()) < 0.04


def test_they_are_published_with_their_figures_and_a_tensorrt_llm_entry_names_one(folder: Path, tmp_path: Path) -> None:
    recipe, run = opened(folder)
    release = open_release(make_release(recipe, run, folder / "home").root)
    assert [entry.format for entry in release.manifest.quantised] == ["fp8", "int4_awq"]
    assert (release.root / "quantised" / "fp8" / "hf_quant_config.json").is_file()
    entry = write_tensorrt_llm_entry(release.manifest, str(release.root), tmp_path, quantised="fp8")
    assert Path(yaml.safe_load((entry / "model.yaml").read_text())["model"], "config.json").is_file()
