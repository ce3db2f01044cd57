"""Checkpoints as bitsandbytes loads them: exported as the plain weights they stand for, trained on without its trap."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.exported import command, opened, prepared
from tests.support.tiny_graph import lively_checkpoint

from weir import cli
from weir.contracts.errors import JobError
from weir.release.reader import open_release
from weir_training.checkpoint import Checkpoint
from weir_training.export import export_flavours
from weir_training.export_source import made_source, source_of
from weir_training.publish import make_release
from weir_training.quiet import quiet_libraries
from weir_training.rounded import load_rounded, write_rounded
from weir_training.verify import verified

IDS = [[5 + (7 * n + 3 * k) % 390 for k in range(30)] for n in range(3)]


def said_by(model: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor(IDS)).logits.numpy()


@pytest.mark.parametrize(("kind", "close"), [("bnb-nf4", 1e-3), ("bnb-int8", 0.5)])
def test_the_plain_weights_say_what_bitsandbytes_says(tmp_path: Path, kind: str, close: float) -> None:
    """In 8 bits it rounds activations as well, which no weights can stand for."""
    write_rounded(lively_checkpoint(), tmp_path / "plain", kind)
    wanted = said_by(load_rounded(lively_checkpoint(), kind))
    plain = np.stack(Checkpoint(tmp_path / "plain", threads=1).logits(IDS))
    whole = np.stack(Checkpoint(lively_checkpoint(), threads=1).logits(IDS))
    assert np.abs(plain - wanted).max() < close
    assert np.abs(plain - wanted).max() < np.abs(plain - whole).max() * (0.01 if kind == "bnb-nf4" else 3)
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert "quantization_config" not in config


def test_evaluating_between_two_steps_does_not_stop_an_adapter_from_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes repacks 4-bit weights on CPUs with AVX512-BF16, which this machine is made to look like."""
    import bitsandbytes as bnb
    import torch
    from peft import LoraConfig, get_peft_model

    monkeypatch.setattr(bnb.nn.modules, "has_avx512bf16", lambda: True)
    assert bnb.nn.Linear4bit(64, 64).support_avx512bf16_for_cpu
    model = load_rounded(lively_checkpoint(), "bnb-nf4")
    products = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert len(products) == 14
    before = [module.weight.data.clone() for module in products]
    assert np.isfinite(said_by(model)).all()
    assert all(torch.equal(one, module.weight.data) for one, module in zip(before, products, strict=True))

    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    with quiet_libraries():
        adapted = get_peft_model(model, config).train()
    adapted(input_ids=torch.tensor(IDS), labels=torch.tensor(IDS)).loss.backward()
    grads = {name: weight.grad for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert len(grads) == 28
    assert all(grad is not None and float(grad.abs().max()) > 0 for grad in grads.values())


def test_a_release_of_rounded_weights_is_proven_against_them_and_says_so(tmp_path: Path) -> None:
    recipe, run = prepared(tmp_path, lively_checkpoint(), flavours=["cpu-fp32"], loaded_as="bnb-nf4")
    source = made_source(recipe, run)
    assert source == source_of(recipe, run) != run.merged
    export_flavours(recipe, source, run)
    found = verified(recipe, run).flavours["cpu-fp32"].parity
    assert found.max_abs <= 1e-4
    release = open_release(make_release(recipe, run, tmp_path / "home").root)
    assert release.manifest.lineage.loaded_as == "bnb-nf4"
    rounded = np.stack(Checkpoint(release.checkpoint, threads=1).logits(IDS))
    assert np.abs(rounded - np.stack(Checkpoint(run.merged, threads=1).logits(IDS))).max() > 0.1


def test_without_bitsandbytes_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    recipe, run = prepared(tmp_path, lively_checkpoint(), flavours=["cpu-fp32"], loaded_as="bnb-int8")
    with pytest.raises(JobError, match=r"pip install 'weir\[bnb\]'"):
        made_source(recipe, run)
    assert not source_of(recipe, run).exists()


def test_without_modelopt_it_says_what_to_install(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, run = opened(finished)
    assert command(finished, "export", "--quantize", "fp8") == 1
    assert "needs nvidia-modelopt, which is not installed here: pip install 'weir[quantize]'" in capsys.readouterr().err
    assert not (run.root / "quantised").exists()
    assert cli.run(["export", str(finished / "recipe.yaml"), "--quantize", "int2"]) == 2
