"""Options that check, train, eval and merge share, and what they come to: one recipe."""

from pathlib import Path
from typing import Annotated

import typer

from weir.contracts.errors import UsageError
from weir_training.recipe import DEFAULT_GUARD, Recipe, load_recipe, named_recipe

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe, e.g. faq, or a YAML file.")]
DataFiles = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="FILE", help="JSONL to train on instead of the recipe's; may be repeated."),
]
HeldoutFile = Annotated[
    Path | None, typer.Option("--heldout", metavar="FILE", help="JSONL that is measured on, never trained on.")
]
Base = Annotated[str | None, typer.Option("--base", help="builtin:NAME, a folder, or a hub id.")]
GuardPolicy = Annotated[
    str | None,
    typer.Option("--guard", metavar="POLICY", help="Refuse rows that a gateway with this policy would; or `default`."),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Change one value; may be repeated.")
]
Home = Annotated[Path, typer.Option("--home", envvar="WEIR_HOME", help="Where runs and releases live.")]
Repository = Annotated[
    Path | None, typer.Option("--repository", help="Model repository to link into; default beside the home.")
]
NodeUrls = Annotated[
    list[str] | None, typer.Option("--node", metavar="URL", help="A running node to tell; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, nothing else.")]
DEFAULT_HOME = Path(".weir")


def read_recipe(
    name: str, data: list[Path] | None, heldout: Path | None, base: str | None, sets: list[str] | None
) -> Recipe:
    """Return the recipe after the command line's changes; paths given there are relative to the current folder.

    Other data than the recipe's comes without the recipe's held-out file: that belongs to the recipe's data.

    Raises:
        UsageError: no such recipe, or a fault in it.
    """
    recipe = load_recipe(named_recipe(name), tuple(sets or ()))
    changes: dict[str, object] = {}
    if data:
        changes = {"train": tuple(str(path.expanduser().resolve()) for path in data), "heldout": None}
    if heldout is not None:
        changes["heldout"] = str(heldout.expanduser().resolve())
    if changes:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})
    return recipe if base is None else _with_base(recipe, base)


def guarded(recipe: Recipe, policy: str | None) -> Recipe:
    """Return the recipe with the guard policy that the command line names, if any."""
    if policy is None:
        return recipe
    named = policy if policy == DEFAULT_GUARD else str(Path(policy).expanduser().resolve())
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"guard": named})})


def _with_base(recipe: Recipe, base: str) -> Recipe:
    if not base.strip():
        raise UsageError("--base: expected builtin:NAME, a folder or a hub id")
    folder = Path(base).expanduser()
    resolved = str(folder.resolve()) if folder.is_dir() else base
    # A revision names a commit of the recipe's own base, not of another one.
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"base": resolved, "revision": None})})
