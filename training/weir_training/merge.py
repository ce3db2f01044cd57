"""`weir merge`: fold the adapter into its base in float32, save, reload, and compare what both say."""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from weir.contracts.errors import CheckFailedError, UsageError
from weir.release.hashing import sha256_text, sha256_tree
from weir.release.prompts import load_chat_template
from weir.release.template import serving_template
from weir.release.tokenizer import ReleaseTokenizer
from weir_training import options
from weir_training.atomic import new_folder, write_json
from weir_training.data import Row, read_data
from weir_training.encode import Encoded, encode, find_templates, load_tokenizer, prompt_of
from weir_training.options import DEFAULT_HOME, AsJson, Base, DataFiles, HeldoutFile, Home, RecipeName, Sets
from weir_training.quiet import calm_threads, quiet_libraries
from weir_training.recipe import Recipe
from weir_training.report import write_report
from weir_training.resolve import refuse_quantised, resolve_base
from weir_training.rundir import RunDirectory, open_run, run_key

app = typer.Typer(add_completion=False)
STAGE = "merge"
MAX_ABS = 1e-4
_ROWS_COMPARED = 16
_POSITIONS_COMPARED = 128
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)


def merge(recipe: Recipe, run: RunDirectory) -> RunDirectory:
    """Write `run.merged`: a plain checkpoint, its tokenizer and the template to serve with.

    Raises:
        UsageError: nothing was trained yet.
        CheckFailedError: the reloaded checkpoint does not answer as base and adapter together do, its embeddings are
            no longer tied, or its base is quantised.
    """
    if not run.adapter.is_dir():
        raise UsageError(f"{run.root.name}: no adapter here yet; `weir train` makes it")
    if not run.is_done("train", run_key(recipe)):
        raise CheckFailedError(
            f"{run.root.name}: base, data or recipe changed since the adapter was trained: train again before merging"
        )
    key = sha256_text(f"{run_key(recipe)}\n{sha256_tree(run.adapter)}")
    if run.is_done(STAGE, key):
        return run
    calm_threads()
    started = time.monotonic()
    with quiet_libraries():
        metrics = _merge(recipe, run)
    run.record(STAGE, key, outputs=[run.merged], seconds=time.monotonic() - started, metrics=metrics)
    write_report(run)
    return run


def _merge(recipe: Recipe, run: RunDirectory) -> dict[str, Any]:
    base = resolve_base(recipe.model)
    refuse_quantised(base, recipe.model.base)
    rows = read_data(recipe.data).train[:_ROWS_COMPARED]
    tokenizer = load_tokenizer(base)
    templates = find_templates(recipe, base, tokenizer, rows)
    encoded = encode(rows, tokenizer, templates.training)
    wanted, tied = None, False
    with new_folder(run.merged) as folder:
        wanted, tied = _fold(base, run.adapter, encoded, folder)
        _copy_tokenizer(base, folder, serving_template(templates.own))
        _add_legacy_rope(folder / "config.json")
        metrics = _compared(folder, encoded, wanted, tied=tied)
        metrics["template_rows"] = _check_template(folder, rows)
    return metrics


def _fold(base: Path, adapter: Path, rows: Sequence[Encoded], folder: Path) -> tuple[list[Any], bool]:
    """Save base plus adapter; return what the two said while they were still apart, and whether embeddings are tied."""
    from peft import PeftModel

    from weir_training.trainer import load_model

    model = PeftModel.from_pretrained(load_model(base), adapter).eval()
    said = _logits(model, rows)
    merged = model.merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder, safe_serialization=True)
    return said, _is_tied(merged)


def _compared(folder: Path, rows: Sequence[Encoded], wanted: Sequence[Any], *, tied: bool) -> dict[str, Any]:
    from weir_training.trainer import load_model

    reloaded = load_model(folder).eval()
    if tied and not _is_tied(reloaded):
        raise CheckFailedError("the reloaded checkpoint lost its tied embeddings")
    pairs = list(zip(wanted, _logits(reloaded, rows), strict=True))
    max_abs = max(float((a - b).abs().max()) for a, b in pairs)
    positions = sum(len(a) for a, _ in pairs)
    agreement = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in pairs) / positions
    if not max_abs <= MAX_ABS or agreement < 1.0:
        raise CheckFailedError(
            f"the merged checkpoint differs from base plus adapter: logits by {max_abs:.2e} (limit {MAX_ABS:.0e}), "
            f"same best token at {agreement:.2%} of {positions} positions (limit 100%)"
        )
    return {"max_abs": max_abs, "argmax_agreement": agreement, "positions": positions, "tied_embeddings": tied}


def _logits(model: Any, rows: Sequence[Encoded]) -> list[Any]:
    """Return one float32 tensor (positions, vocabulary) per row, of the last positions."""
    import torch

    with torch.inference_mode():
        return [
            model(input_ids=torch.tensor([row.ids])).logits[0, -_POSITIONS_COMPARED:].float().clone() for row in rows
        ]


def _is_tied(model: Any) -> bool:
    output = model.get_output_embeddings()
    return output is not None and output.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


def _copy_tokenizer(base: Path, folder: Path, template: str) -> None:
    """Take the tokenizer as it is; the template stands in one place only."""
    for name in _TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    config = folder / "tokenizer_config.json"
    if config.is_file():
        tree = json.loads(config.read_text(encoding="utf-8"))
        tree.pop("chat_template", None)
        write_json(config, tree)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _add_legacy_rope(path: Path) -> None:
    """Write `rope_theta` and `rope_scaling` beside transformers 5's `rope_parameters`.

    Readers of the older form take a missing theta for 10000 and go wrong without a word.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" not in rope:
        return
    config["rope_theta"] = rope["rope_theta"]
    scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
    config["rope_scaling"] = None if scaling.get("rope_type", "default") == "default" else scaling
    write_json(path, config)


def _check_template(folder: Path, rows: Sequence[Row]) -> int:
    """The gateway renders without transformers: both must give the same prompt. Return how many rows were compared."""
    tokenizer = load_tokenizer(folder)
    source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    gateway = load_chat_template(folder, ReleaseTokenizer(folder / "tokenizer.json"))
    for row in rows:
        if gateway is None or gateway.render(row.question) != prompt_of(row, tokenizer, source):
            raise CheckFailedError(f"{row.place}: the gateway would render another prompt than transformers does")
    return len(rows)


@app.command(name="merge")
def command(  # noqa: PLR0913 — a command line's options are its arguments
    recipe: RecipeName,
    data: DataFiles = None,
    heldout: HeldoutFile = None,
    base: Base = None,
    sets: Sets = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Fold the adapter into its base, save, reload, compare."""
    resolved = options.read_recipe(recipe, data, heldout, base, sets)
    read_data(resolved.data)
    run = merge(resolved, open_run(home, resolved))
    metrics = run.metrics(STAGE) or {}
    if as_json:
        typer.echo(json.dumps({"merged": str(run.merged), **metrics}))
        return
    typer.echo(
        f"merged  {run.merged}\n"
        f"equal to base plus adapter: logits within {metrics['max_abs']:.1e}, the same best token at all "
        f"{metrics['positions']} positions"
    )
