"""Where a release came from: enough to make it again, and nothing about the machine it was made on."""

import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import weir
from weir.contracts.manifest import Lineage
from weir.release.hashing import sha256_file, sha256_tree
from weir_training.guard_filter import policy_of
from weir_training.recipe import Recipe
from weir_training.resolve import resolve_base
from weir_training.rundir import RunDirectory

_LIBRARIES = (
    "accelerate",
    "onnx",
    "onnxruntime",
    "onnxruntime-genai",
    "peft",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
)


def lineage_of(recipe: Recipe, run: RunDirectory) -> Lineage:
    """Hash base, recipe and data as they are now, and name code and libraries."""
    base = Path(recipe.model.base).expanduser()
    return Lineage(
        base=base.name if base.is_dir() else recipe.model.base,
        base_sha256=sha256_tree(resolve_base(recipe.model)),
        recipe_sha256=portable(recipe).digest(),
        data_sha256=_data(recipe),
        run=run.root.name,
        seed=recipe.seed,
        loaded_as=recipe.export.loaded_as,
        code_version=code_version(),
        libraries=library_versions(_LIBRARIES),
    )


def portable(recipe: Recipe) -> Recipe:
    """The recipe with names in place of paths: it hashes alike in every checkout."""
    heldout = recipe.data.heldout
    data = {
        "train": tuple(Path(p).name for p in recipe.data.train),
        "heldout": None if heldout is None else Path(heldout).name,
        "guard": None if recipe.data.guard is None else Path(recipe.data.guard).name,
    }
    template, base = recipe.model.chat_template, Path(recipe.model.base).expanduser()
    model = {
        "chat_template": template if template == "keep" else Path(template).name,
        "base": base.name if base.is_dir() else recipe.model.base,
    }
    changes = {
        "data": recipe.data.model_copy(update=data),
        "model": recipe.model.model_copy(update=model),
    }
    return recipe.model_copy(update=changes)


def _data(recipe: Recipe) -> dict[str, str]:
    heldout = () if recipe.data.heldout is None else (recipe.data.heldout,)
    hashes: dict[str, str] = {}
    for path in map(Path, (*recipe.data.train, *heldout)):
        name = path.name if path.name not in hashes else f"{len(hashes)}-{path.name}"
        hashes[name] = sha256_file(path)
    if (policy := policy_of(recipe.data)) is not None:
        hashes[f"guard-{policy.id}"] = policy.sha256
    return hashes


def code_version() -> str:
    """Weir's version, and the commit when this is a checkout."""
    folder = Path(weir.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return weir.__version__
    commit = done.stdout.strip()
    return f"{weir.__version__}+g{commit}" if done.returncode == 0 and commit else weir.__version__


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those that are installed."""
    return {name: found for name in names if (found := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
