"""Runs that stand where merge left them, on a random checkpoint."""

import json
import shutil
from pathlib import Path

import yaml

from tests.support.tiny_checkpoint import faq_rows
from tests.support.tiny_graph import lively_checkpoint
from weir import cli
from weir_training.export import export_flavours
from weir_training.publish import make_release
from weir_training.recipe import Recipe, load_recipe
from weir_training.rundir import RunDirectory, open_run
from weir_training.verify import verified

FLAVOURS = ("cpu-fp32", "cpu-int8", "cpu-int4", "cpu-packed8", "cpu-packed4")
LOOSE = {"kl": 10.0, "argmax": 0.0, "nll_rise": 10.0, "exact_match_drop": 1.0}
STRICT = "{kl: 1.0e-12, argmax: 1.0}"


def make_recipe(folder: Path, base: Path, **export: object) -> Path:
    """Write a recipe and its data; random weights pass only loose gates."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(row) for row in faq_rows(20)]
    chinese = {"prompt": "怎么退货？", "completion": "七天内。"}
    (folder / "faq.jsonl").write_text("\n".join([*rows, json.dumps(chinese)]) + "\n", encoding="utf-8")
    tree = {
        "name": "tiny",
        "model": {"base": str(base)},
        "data": {"train": ["faq.jsonl"]},
        "optim": {"threads": 1},
        "export": {"int8": LOOSE, "int4": LOOSE, **export},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder / "recipe.yaml"


def prepared(folder: Path, base: Path, **export: object) -> tuple[Recipe, RunDirectory]:
    """A run that stands where merge left it."""
    recipe = load_recipe(make_recipe(folder, base, **export))
    run = open_run(folder / "home", recipe)
    shutil.copytree(base, run.merged)
    return recipe, run


def opened(folder: Path, *overrides: str) -> tuple[Recipe, RunDirectory]:
    recipe = load_recipe(folder / "recipe.yaml", overrides)
    return recipe, open_run(folder / "home", recipe)


def verified_for_gpus(folder: Path) -> None:
    """Make a run with the flavours for GPUs, exported and verified on this machine."""
    recipe, run = prepared(folder, lively_checkpoint(), flavours=["cpu-fp32"], gpu=True, fp16=LOOSE)
    export_flavours(recipe, run.merged, run)
    verified(recipe, run)


def released(folder: Path) -> Path:
    """Make a release of a verified run."""
    recipe, run = opened(folder)
    return make_release(recipe, run, folder / "home").root


def command(folder: Path, verb: str, *options: str) -> int:
    return cli.run([verb, str(folder / "recipe.yaml"), "--home", str(folder / "home"), *options])
