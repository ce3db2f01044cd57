"""`weir publish`: a release from a verified run, linked where nodes look, and running nodes told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer

from weir.contracts.errors import CheckFailedError, JobError, ReleaseError, UsageError
from weir.contracts.manifest import ReleaseManifest
from weir.release.hashing import sha256_tree
from weir.release.reader import newest_version, open_release
from weir_training import gate
from weir_training.adapter_proof import parse_adapters, prove_adapters
from weir_training.atomic import new_folder
from weir_training.export_source import source_of
from weir_training.linking import default_repository, link_release
from weir_training.options import (
    DEFAULT_HOME,
    AsJson,
    Base,
    DataFiles,
    HeldoutFile,
    Home,
    NodeUrls,
    RecipeName,
    Repository,
    Sets,
    read_recipe,
)
from weir_training.parity_report import ParityReport, read_report
from weir_training.progress import Progress, Tick, bar, silent
from weir_training.recipe import Recipe
from weir_training.release_folder import Contents, same_content, write_release
from weir_training.rundir import RunDirectory, open_run
from weir_training.telling import Told, check_url, tell
from weir_training.versions import next_version, one_publisher

app = typer.Typer(add_completion=False)

STAGE: Final = "publish"


@dataclass(frozen=True, slots=True)
class Publication:
    """`is_new` is False when the newest version already held exactly this."""

    root: Path
    link: Path
    manifest: ReleaseManifest
    is_new: bool


class _AlreadyThereError(Exception):
    """The newest version has the same content."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.root = root


def publish(
    recipe: Recipe, run: RunDirectory, home: Path, *, repository: Path | None = None, allow_fp32_only: bool = False
) -> Path:
    """As `make_release`; return the release's folder."""
    return make_release(recipe, run, home, repository=repository, allow_fp32_only=allow_fp32_only).root


def make_release(  # noqa: PLR0913 - each is a decision of its own
    recipe: Recipe,
    run: RunDirectory,
    home: Path,
    *,
    repository: Path | None = None,
    allow_fp32_only: bool = False,
    serve_flavour: str | None = None,
    adapters: Mapping[str, Path] | None = None,
    progress: Progress = silent,
) -> Publication:
    """Write `<home>/releases/<model>/<next version>` and link it into the model repository.

    The version appears whole or not at all. Content that the newest version already has is not published again.

    Args:
        recipe: names the model.
        run: must be verified; what is published must be what was measured.
        home: where releases live.
        repository: where the link goes; by default see `default_repository`.
        allow_fp32_only: publish although every quantised flavour failed.
        serve_flavour: what nodes load unasked, e.g. what `weir bench engine --choose` said; none: a fixed order.
        adapters: folders of PEFT's by the names that requests will use; each is proven first.
        progress: told what is being done.

    Raises:
        CheckFailedError: fp32 failed, or every quantised flavour did; the message names the numbers.
        JobError: not verified, changed since, or the disk is full.
        UsageError: `serve_flavour` is none of those that passed.
    """
    report = read_report(run)
    contents = Contents(
        recipe, run, report, _passed(report), _is_exception(report), adapters or {}, serve_flavour=serve_flavour
    )
    if serve_flavour not in (None, *contents.flavours):
        have = ", ".join(contents.flavours)
        raise UsageError(f"--serve-flavour {serve_flavour}: not among those that passed ({have})")
    if contents.is_exception and not allow_fp32_only:
        raise CheckFailedError(f"no quantised flavour passed its gate:\n{_reasons(report)}")
    _refuse_changed(contents)
    contents = replace(contents, proven=prove_adapters(recipe, run, report, contents.adapters))
    progress(Tick(STAGE, 0, 3, "copying"))
    model_dir = home / "releases" / recipe.name
    try:
        with one_publisher(model_dir):
            root, is_new = _write_next(contents, model_dir)
            progress(Tick(STAGE, 1, 3, "checking"))
            manifest = open_release(root).manifest
            progress(Tick(STAGE, 2, 3, "linking"))
            link = link_release(root, repository or default_repository(home))
    except OSError as error:
        raise JobError(f"publishing stopped: {error.strerror or error} ({error.filename or model_dir})") from error
    progress(Tick(STAGE, 3, 3, f"version {manifest.version}"))
    return Publication(root, link, manifest, is_new)


def _passed(report: ParityReport) -> tuple[str, ...]:
    passed = tuple(name for name, found in report.flavours.items() if found.parity.passed)
    if gate.REFERENCE not in passed:
        raise CheckFailedError(f"{gate.REFERENCE} is not the checkpoint:\n{_reasons(report)}")
    return passed


def _is_exception(report: ParityReport) -> bool:
    """Quantised flavours were asked for, and none of them passed."""
    return len(report.flavours) > 1 and len(_passed(report)) == 1


def _reasons(report: ParityReport) -> str:
    failed = [f"{name}: {'; '.join(found.parity.reasons)}" for name, found in report.flavours.items()]
    return "\n".join(line for line in failed if not line.endswith(": "))


def _refuse_changed(contents: Contents) -> None:
    """What is published must be what was measured."""
    run, report = contents.run, contents.report
    wanted = {name: report.flavours[name].sha256 for name in contents.flavours}
    found = {name: sha256_tree(run.onnx(name)) if run.onnx(name).is_dir() else None for name in wanted}
    source = source_of(contents.recipe, run)
    if found != wanted or not source.is_dir() or sha256_tree(source) != report.checkpoint_sha256:
        raise JobError(f"{run.root}: checkpoint or graphs are not the ones that were verified; run `weir verify` again")


def _write_next(contents: Contents, model_dir: Path) -> tuple[Path, bool]:
    """Write the next version, or find that the newest is the same; return its folder and whether it is new."""
    version = next_version(model_dir)
    root = model_dir / str(version)
    try:
        with new_folder(root) as folder:
            manifest = write_release(contents, folder, version)
            _refuse_the_same(manifest, model_dir)
    except _AlreadyThereError as found:
        return found.root, False
    return root, True


def _refuse_the_same(manifest: ReleaseManifest, model_dir: Path) -> None:
    """A damaged newest version is not worth being the same as."""
    try:
        newest = open_release(newest_version(model_dir))
    except ReleaseError:
        return
    if same_content(newest.manifest, manifest):
        raise _AlreadyThereError(newest.root)


@app.command(name="publish")
def command(  # noqa: PLR0913 — a command line's options are its arguments
    recipe: RecipeName,
    data: DataFiles = None,
    heldout: HeldoutFile = None,
    base: Base = None,
    sets: Sets = None,
    home: Home = DEFAULT_HOME,
    repository: Repository = None,
    node: NodeUrls = None,
    gateway: Annotated[
        list[str] | None,
        typer.Option("--gateway", metavar="URL", help="A gateway's admin port: all its nodes, and it."),
    ] = None,
    allow_fp32_only: Annotated[
        bool, typer.Option("--allow-fp32-only", help="Publish although every quantised flavour failed its gate.")
    ] = False,
    serve_flavour: Annotated[
        str | None, typer.Option("--serve-flavour", help="What nodes load unasked; see `weir bench engine --choose`.")
    ] = None,
    adapter: Annotated[
        list[str] | None, typer.Option("--adapter", metavar="NAME=FOLDER", help="A LoRA adapter to serve beside it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a release of a verified run, link it into the model repository, tell running nodes."""
    urls = [check_url("--node", url) for url in node or ()]
    gateways = [check_url("--gateway", url) for url in gateway or ()]
    adapters = parse_adapters(adapter or ())
    loaded = read_recipe(recipe, data, heldout, base, sets)
    run = open_run(home, loaded)
    with bar() as progress:
        made = make_release(
            loaded,
            run,
            home,
            repository=repository,
            allow_fp32_only=allow_fp32_only,
            serve_flavour=serve_flavour,
            adapters=adapters,
            progress=progress,
        )
    if not as_json:
        typer.echo(_in_words(made))
    show = typer.echo if not as_json else lambda _: None
    told = tell(made.manifest.model, made.manifest.version, nodes=urls, gateways=gateways, show=show)
    if as_json:
        typer.echo(_as_json(made, told))
    told.raise_for_refusals()


def _in_words(made: Publication) -> str:
    manifest = made.manifest
    flavours = ", ".join(found.flavour for found in manifest.formats)
    state = "published" if made.is_new else "already published, unchanged:"
    lines = [
        f"{state} {manifest.model} version {manifest.version}: {flavours} (serves {manifest.serve_flavour})",
        f"release  {made.root}",
        f"link     {made.link}",
    ]
    return "\n".join(lines)


def _as_json(made: Publication, told: Told) -> str:
    return json.dumps(
        {
            "model": made.manifest.model,
            "version": made.manifest.version,
            "release": str(made.root),
            "link": str(made.link),
            "is_new": made.is_new,
            "flavours": [found.flavour for found in made.manifest.formats],
            "serve_flavour": made.manifest.serve_flavour,
            "nodes": dict(told.nodes),
        }
    )
