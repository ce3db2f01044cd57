"""`weir adapters`: LoRA adapters for a release that is out, without a new version of it."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from weir.contracts.adapter import AdapterManifest
from weir.contracts.errors import JobError, UsageError
from weir.contracts.manifest import AdapterEntry, FileEntry, is_packed
from weir.release.added import ADAPTER, added_adapters, added_folder
from weir.release.hashing import sha256_file
from weir.release.reader import MANIFEST, Release, newest_version, open_release
from weir_training.adapter_proof import FILES, parse_adapters, prove_adapters
from weir_training.atomic import new_folder, write_text
from weir_training.graph_builder import GRAPH_FILES
from weir_training.options import (
    DEFAULT_HOME,
    AsJson,
    Base,
    DataFiles,
    HeldoutFile,
    Home,
    RecipeName,
    Sets,
    read_recipe,
)
from weir_training.parity_report import read_report
from weir_training.recipe import Recipe
from weir_training.rundir import RunDirectory, open_run
from weir_training.telling import check_url, tell

app = typer.Typer(add_completion=False, no_args_is_help=True)

Nodes = Annotated[list[str] | None, typer.Option("--node", metavar="URL", help="A running node; may be repeated.")]
Gateways = Annotated[list[str] | None, typer.Option("--gateway", metavar="URL", help="A gateway's admin port.")]


def publish_adapters(recipe: Recipe, run: RunDirectory, home: Path, adapters: Mapping[str, Path]) -> Path:
    """Prove adapters on the graphs of the newest release, which must be this run's, and put them beside it.

    Return the release's folder. An adapter whose name is taken is replaced.

    Raises:
        CheckFailedError: an adapter is further from the checkpoint than the flavour's gate allows.
        JobError: the newest release is not of this run, or nothing in it could serve an adapter.
        ReleaseError: not an adapter of this model, or of a kind that is not served.
    """
    root = newest_version(home / "releases" / recipe.name)
    release = open_release(root)
    _refuse_another_run(release, run)
    for entry in prove_adapters(recipe, run, read_report(run), adapters):
        _write(release, entry, adapters[entry.name])
    return root


def _refuse_another_run(release: Release, run: RunDirectory) -> None:
    hashes = {entry.path: entry.sha256 for entry in release.manifest.files}
    for flavour in (found.flavour for found in release.manifest.formats if is_packed(found.flavour)):
        for name in GRAPH_FILES:
            path, known = run.onnx(flavour) / name, hashes.get(f"onnx/{flavour}/{name}")
            if known is not None and (not path.is_file() or sha256_file(path) != known):
                where = f"{release.manifest.model}/{release.manifest.version}"
                raise JobError(f"{where} was not published from {run.root}: {flavour} differs; `weir publish` first")


def _write(release: Release, entry: AdapterEntry, source: Path) -> None:
    with new_folder(added_folder(release.root) / entry.name) as folder:
        for name in FILES:
            shutil.copyfile(source / name, folder / name)
        files = tuple(
            FileEntry(path=name, sha256=sha256_file(folder / name), bytes=(folder / name).stat().st_size)
            for name in FILES
        )
        manifest = AdapterManifest(
            model=release.manifest.model,
            version=release.manifest.version,
            release_sha256=sha256_file(release.root / MANIFEST),
            created=datetime.now(UTC).replace(microsecond=0),
            entry=entry,
            files=files,
        )
        write_text(folder / ADAPTER, manifest.model_dump_json(indent=2))


@app.command()
def add(  # noqa: PLR0913 - a command line's options are its arguments
    recipe: RecipeName,
    adapter: Annotated[list[str], typer.Option("--adapter", metavar="NAME=FOLDER", help="As PEFT wrote it.")],
    data: DataFiles = None,
    heldout: HeldoutFile = None,
    base: Base = None,
    sets: Sets = None,
    home: Home = DEFAULT_HOME,
    node: Nodes = None,
    gateway: Gateways = None,
    as_json: AsJson = False,
) -> None:
    """Prove adapters on the newest release of a recipe, publish them beside it, and have running nodes serve them."""
    adapters = parse_adapters(adapter)
    where = _where(node, gateway)
    loaded = read_recipe(recipe, data, heldout, base, sets)
    root = publish_adapters(loaded, open_run(home, loaded), home, adapters)
    version = int(root.name)
    for name in adapters:
        show = typer.echo if not as_json else lambda _: None
        if not as_json:
            typer.echo(f"published adapter {name} of {loaded.name}/{version}: {added_folder(root) / name}")
        told = tell(loaded.name, version, **where, show=show, options=("--adapter", name))
        if as_json:
            typer.echo(json.dumps({"adapter": name, "release": str(root), "nodes": dict(told.nodes)}))
        told.raise_for_refusals()


@app.command()
def remove(
    release: Annotated[str, typer.Argument(metavar="MODEL/VERSION")],
    name: Annotated[str, typer.Argument(help="the adapter")],
    home: Home = DEFAULT_HOME,
    node: Nodes = None,
    gateway: Gateways = None,
) -> None:
    """Delete an adapter from beside its release and have running nodes let go of it."""
    where = _where(node, gateway)
    root = home / "releases" / release
    found = next((added for added in added_adapters(root) if added.name == name), None)
    if found is None:
        have = ", ".join(added.name for added in added_adapters(root)) or "none"
        raise UsageError(f"{name}: no adapter beside {release} (there: {have})")
    shutil.rmtree(found.folder)
    typer.echo(f"removed adapter {name} of {release}")
    model, _, version = release.partition("/")
    tell(model, int(version), **where, show=typer.echo, options=("--adapter", name, "--remove")).raise_for_refusals()


@app.command(name="list")
def list_adapters(home: Home = DEFAULT_HOME, as_json: AsJson = False) -> None:
    """List the adapters that lie beside releases, with what was proven of them."""
    rows: list[dict[str, Any]] = []
    for path in sorted((home / "releases").glob(f"*/adapters/*/*/{ADAPTER}")):
        manifest = AdapterManifest.model_validate_json(path.read_bytes())
        rows.append({"model": manifest.model, "version": manifest.version, **manifest.entry.model_dump()})
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        proof = f"rank {row['rank']}  mean KL {row['mean_kl']:.4f}  argmax {row['argmax_agreement']:.4f}"
        typer.echo(f"{row['model']}/{row['version']}  {row['name']}  {proof}")


def _where(nodes: list[str] | None, gateways: list[str] | None) -> dict[str, list[str]]:
    return {
        "nodes": [check_url("--node", url) for url in nodes or ()],
        "gateways": [check_url("--gateway", url) for url in gateways or ()],
    }
