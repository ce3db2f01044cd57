"""`weir releases`: what was published here, and whether it is still what it was."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from weir.contracts.classifier import ClassifierManifest
from weir.contracts.embedder import EmbedderManifest
from weir.contracts.errors import CheckFailedError, ReleaseError, UsageError
from weir.contracts.manifest import Lineage, ReleaseManifest
from weir.release.fetching import fetch_release
from weir.release.reader import COMPLETE, MANIFEST, AnyManifest, newest_version, open_any, read_any_manifest

app = typer.Typer(add_completion=False)

Home = Annotated[Path, typer.Option("--home", envvar="WEIR_HOME", help="Where runs and releases live.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, nothing else.")]
Named = Annotated[str, typer.Argument(metavar="RELEASE", help="MODEL, MODEL/VERSION, or a release's folder.")]
_DEFAULT_HOME = Path(".weir")


@app.callback(invoke_without_command=True)
def command(context: typer.Context, home: Home = _DEFAULT_HOME, as_json: AsJson = False) -> None:
    """List releases, show one, or check one file by file. Without a word: list."""
    if context.invoked_subcommand is None:
        list_releases(home, as_json)


@app.command(name="list")
def list_releases(home: Home = _DEFAULT_HOME, as_json: AsJson = False) -> None:
    """List every release, oldest version first."""
    rows = [_summary(root) for root in _roots(home)]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo(f"no releases in {home / 'releases'}; `weir publish` makes one")
    for row in rows:
        typer.echo(_line(row))


@app.command()
def show(release: Named, home: Home = _DEFAULT_HOME, as_json: AsJson = False) -> None:
    """Show a release's manifest: flavours with their parity, lineage, files."""
    manifest = read_any_manifest(_root(release, home))
    if as_json:
        typer.echo(manifest.model_dump_json())
        return
    typer.echo("\n".join(_details(manifest)))


@app.command()
def check(release: Named, home: Home = _DEFAULT_HOME, as_json: AsJson = False) -> None:
    """Hash every file again; exit code 3 when one is missing, altered or unknown to the manifest."""
    root = _root(release, home)
    try:
        opened = open_any(root)
    except ReleaseError as error:
        raise CheckFailedError(str(error)) from error
    strangers = _unknown_files(root, opened.manifest)
    if strangers:
        raise CheckFailedError(f"{root}: not in the manifest: {', '.join(strangers)}")
    files = opened.manifest.files
    size_bytes = sum(entry.bytes for entry in files)
    if as_json:
        typer.echo(json.dumps({"release": str(root), "files": len(files), "bytes": size_bytes, "ok": True}))
    else:
        typer.echo(f"{root}: {len(files)} files, {size_bytes / 1e6:.2f} MB, all as published")


@app.command()
def fetch(
    url: Annotated[str, typer.Argument(help="of a tar file that holds one release (https://...)")],
    sha256: Annotated[str, typer.Option(help="of the tar file")],
    release: Annotated[str, typer.Option(metavar="MODEL/VERSION", help="what it must be")],
    into: Annotated[Path, typer.Option(help="the folder that it becomes; nothing is done when it is there")],
    authorization: Annotated[
        str | None, typer.Option(envvar="WEIR_FETCH_AUTHORIZATION", help="sent as the header of this name")
    ] = None,
) -> None:
    """Bring a release from a web server: its hashes are checked, then it appears in one step."""
    model, _, version = release.partition("/")
    if not model or not version.isdigit():
        raise UsageError(f"--release {release}: MODEL/VERSION is needed, for instance faq/1")
    is_new = fetch_release(url, sha256, into, expected=(model, int(version)), authorization=authorization)
    typer.echo(f"{into}: {release} {'is here, every file as published' if is_new else 'was here already'}")


def _roots(home: Path) -> list[Path]:
    versions = [path for path in (home / "releases").glob("*/*") if path.name.isdigit()]
    return sorted(versions, key=lambda path: (path.parent.name, int(path.name)))


def _root(name: str, home: Path) -> Path:
    """Return the folder that `name` means; a model alone means its newest version."""
    for folder in (home / "releases" / name, Path(name)):
        if (folder / MANIFEST).is_file():
            return folder
    model_dir = home / "releases" / name
    if model_dir.is_dir() and "/" not in name.strip("/"):
        return newest_version(model_dir)
    known = ", ".join(f"{path.parent.name}/{path.name}" for path in _roots(home)) or "none"
    raise UsageError(f"{name}: no such release in {home / 'releases'} (there: {known})")


def _summary(root: Path) -> dict[str, Any]:
    """One row of the list; a release that cannot be read is listed with the reason."""
    row: dict[str, Any] = {"model": root.parent.name, "version": int(root.name), "release": str(root)}
    try:
        manifest = read_any_manifest(root)
    except ReleaseError as error:
        return {**row, "error": str(error)}
    return {
        **row,
        "created": manifest.created.isoformat(),
        "serve_flavour": manifest.serve_flavour,
        "gate_passed": manifest.gate_passed,
        "flavours": {found.flavour: found.parity.bytes for found in manifest.formats},
        "bytes": sum(entry.bytes for entry in manifest.files),
    }


def _line(row: dict[str, Any]) -> str:
    name = f"{row['model']}/{row['version']}"
    if "error" in row:
        return f"{name:<24} unusable: {row['error']}"
    gate = "gate passed" if row["gate_passed"] else "gate failed, published by exception"
    flavours = ", ".join(f"{flavour} {size / 1e6:.2f} MB" for flavour, size in row["flavours"].items())
    return f"{name:<24} {row['created'][:16]}  {gate}  {flavours}  (serves {row['serve_flavour']})"


def _details(manifest: AnyManifest) -> list[str]:
    lines = [f"{manifest.model}/{manifest.version}  {manifest.created.isoformat()}", *_origin(manifest.lineage)]
    match manifest:
        case ClassifierManifest():
            lines += _scoring(manifest)
        case EmbedderManifest():
            lines += _embedding(manifest)
        case _:
            lines += _generating(manifest)
    lines += [f"{name}  {value:.4f}" for name, value in sorted(manifest.evaluation.items())]
    return [*lines, f"{len(manifest.files)} files, {sum(entry.bytes for entry in manifest.files) / 1e6:.2f} MB"]


def _origin(made: Lineage) -> list[str]:
    return [
        f"base     {made.base}  {made.base_sha256[:12]}",
        f"recipe   {made.recipe_sha256[:12]}  run {made.run}  seed {made.seed}  Weir {made.code_version}",
        *(f"data     {name}  {digest[:12]}" for name, digest in sorted(made.data_sha256.items())),
    ]


def _generating(manifest: ReleaseManifest) -> list[str]:
    size, mode = manifest.vocab_size, manifest.prompt_mode
    lines = [f"context  {manifest.context_tokens} tokens, vocabulary {size}, prompts: {mode}"]
    for found in manifest.formats:
        p = found.parity
        mark = "  (served)" if found.flavour == manifest.serve_flavour else ""
        lines.append(
            f"{found.flavour:<9}{p.bytes / 1e6:8.2f} MB  max abs {p.max_abs:.2g}  argmax {p.argmax_agreement:.4f}  "
            f"KL {p.mean_kl:.2g}{mark}"
        )
    return lines


def _scoring(manifest: ClassifierManifest) -> list[str]:
    chosen = manifest.threshold
    lines = [
        f"scores   {manifest.labels[1]} against {manifest.labels[0]}; found from {chosen.score:.4f} on: "
        f"{chosen.false_positive_rate:.2%} of {chosen.fine_rows} validation rows that are fine"
    ]
    return lines + [
        f"{found.flavour:<9}{found.parity.bytes / 1e6:8.2f} MB  max abs {found.parity.max_abs:.2g}"
        for found in manifest.formats
    ]


def _embedding(manifest: EmbedderManifest) -> list[str]:
    sizes = f"{manifest.dimensions} dimensions, {manifest.context_tokens} tokens"
    return [f"embeds   {sizes}, pooled by {manifest.pooling}"] + [
        f"{found.flavour:<9}{found.parity.bytes / 1e6:8.2f} MB  cosine {found.parity.min_cosine:.6f} at least"
        for found in manifest.formats
    ]


def _unknown_files(root: Path, manifest: AnyManifest) -> list[str]:
    known = {entry.path for entry in manifest.files} | {MANIFEST, COMPLETE}
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() or path.is_symlink())
    return sorted(set(found) - known)
