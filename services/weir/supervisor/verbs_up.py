"""`weir up`: from a file of examples to a served release, on this machine."""

import asyncio
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from weir.asgi.listen import require_free
from weir.contracts.errors import CheckFailedError, JobError, UsageError
from weir.gateway.access import keys_were_made, require_callers
from weir.gateway.embedder_releases import open_given
from weir.gateway.settings import load_settings
from weir.gateway.settings_access import AccessSettings
from weir.supervisor.scraping import where_to_look
from weir.supervisor.stack import LOOPBACK, Stack, StackSettings

app = typer.Typer(add_completion=False)
_ANY_NODE = {"name": "any", "url": f"http://{LOOPBACK}:1"}
_EXIT_ERRORS = {2: UsageError, 3: CheckFailedError}

Data = Annotated[list[Path] | None, typer.Option(help="JSONL of examples (repeatable); default: the bundled FAQ")]
Heldout = Annotated[Path | None, typer.Option(help="phrasings never trained on, only measured")]
Base = Annotated[str | None, typer.Option(help="builtin:NAME, a folder, or a hub id")]
RecipeOption = Annotated[
    str | None, typer.Option(help="shipped recipe or YAML file; default: faq, or instruct with --base")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="override a recipe value: optim.lr=1e-4")]
Home = Annotated[Path, typer.Option(envvar="WEIR_HOME", help="runs, releases, logs")]
Host = Annotated[str, typer.Option(help="address to listen on")]
Port = Annotated[int, typer.Option(help="gateway port", min=1, max=65535)]
AdminPort = Annotated[
    int | None, typer.Option(help="port of /metrics and /admin; default: the one after --port", min=1, max=65535)
]
NodePort = Annotated[int, typer.Option(help="CPU node port", min=1, max=65535)]
Guard = Annotated[Path | None, typer.Option(help="guard policy (YAML); default: the shipped one")]
Embedder = Annotated[
    list[str] | None, typer.Option(help="serve /v1/embeddings as well: a release, or a model below --home (repeatable)")
]
FlavourOption = Annotated[
    str | None, typer.Option(help="e.g. cpu-packed8, cpu-packed4, cpu-int8; default: the release's choice")
]
Workers = Annotated[int, typer.Option(help="gateway processes; each uses one core", min=1, max=256)]
AllowAnonymous = Annotated[bool, typer.Option("--allow-anonymous", help="serve callers without a key, on any --host")]
TrainOnly = Annotated[bool, typer.Option("--no-serve", help="stop after publishing")]


@app.command()
def up(  # noqa: PLR0913 - a command line's options are its arguments
    data: Data = None,
    heldout: Heldout = None,
    base: Base = None,
    recipe: RecipeOption = None,
    overrides: Overrides = None,
    home: Home = Path(".weir"),
    host: Host = "127.0.0.1",
    port: Port = 8080,
    admin_port: AdminPort = None,
    node_port: NodePort = 8100,
    guard: Guard = None,
    flavour: FlavourOption = None,
    embedder: Embedder = None,
    workers: Workers = 1,
    allow_anonymous: AllowAnonymous = False,
    no_serve: TrainOnly = False,
) -> None:
    """Check, train, merge, export, verify, publish, then serve until Ctrl-C. What is unchanged is reused."""
    embedders = tuple(_embedder_folder(given, home) for given in embedder or ())
    admin_port = admin_port or (port + 1 if port < 65535 else port - 1)
    if not no_serve:
        require_free(host, port, option="--port")
        require_free(LOOPBACK, admin_port, option="--admin-port")
        require_free(LOOPBACK, node_port, option="--node-port")
        # Now, not when all the training is done:
        require_callers(_access(home, allow_anonymous=allow_anonymous), home, host)
    chosen = recipe or ("instruct" if base and not base.startswith("builtin:") else "faq")
    arguments = [chosen, "--home", str(home)]
    arguments += [text for path in data or () for text in ("--data", str(path))]
    arguments += ["--heldout", str(heldout)] if heldout else []
    arguments += ["--base", base] if base else []
    arguments += [text for override in overrides or () for text in ("--set", override)]
    result = _pipeline(arguments)
    if no_serve:
        typer.echo(f"release: {result['release']}")
        return
    settings = StackSettings(
        Path(result["release"]),
        home,
        host,
        port,
        admin_port,
        node_port,
        guard,
        flavour,
        workers,
        allow_anonymous,
        embedders,
    )
    _serve(settings, str(result["question"]))


def _embedder_folder(given: str, home: Path) -> Path:
    """Return the release's folder, or the folder of a model's versions.

    Raises:
        ReleaseError: there is none, or it is no embedder.
    """
    named = home / "releases" / given
    folder = named if named.is_dir() else Path(given)
    open_given(folder)
    return folder


def _access(home: Path, *, allow_anonymous: bool) -> AccessSettings:
    """Return what the gateway will find, variables included."""
    given: dict[str, Any] = {"home": home, "nodes": [_ANY_NODE], "releases": [home]}
    if allow_anonymous:
        given["access"] = {"allow_anonymous": True}
    return load_settings(given).access


def _pipeline(arguments: list[str]) -> dict[str, Any]:
    """Run the training side in a process of its own: its memory goes when it ends, and serving never imports it."""
    with tempfile.TemporaryDirectory(prefix="weir-up-") as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "weir_training.pipeline", *arguments, "--result", str(result)]
        code = _run_until_done(command)
        if code == 0:
            loaded: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
            return loaded
    if code == 130:
        raise KeyboardInterrupt
    error = _EXIT_ERRORS.get(code, JobError)
    raise error("stopped before serving; the reason stands above")


def _run_until_done(command: list[str]) -> int:
    """Ctrl-C reaches the child too (same terminal): let it write down where it is, then pass its code on."""
    with subprocess.Popen(command) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue


def _serve(settings: StackSettings, question: str) -> None:
    async def main() -> None:
        stack = Stack(settings, lambda line: typer.echo(line, err=True))
        await stack.run(lambda: typer.echo(_welcome(settings, question)))

    asyncio.run(main())
    typer.echo("drained; bye")


def _welcome(settings: StackSettings, question: str) -> str:
    access = _access(settings.home, allow_anonymous=settings.allow_anonymous)
    wants_key = not access.allow_anonymous and keys_were_made(access, settings.home)
    key = "-H 'authorization: Bearer YOUR_KEY' " if wants_key else ""
    body = json.dumps({"inputs": question, "parameters": {"max_new_tokens": 64}}, ensure_ascii=False)
    logs = settings.home / "logs"
    return (
        f"\nserving {settings.release.parent.name} version {settings.release.name} on {settings.url} (Ctrl-C drains)\n"
        f"OpenAI clients: {settings.url}/v1   logs: {logs}\n"
        f"{where_to_look(settings)}\n"
        f"  curl {settings.url}/generate {key}-H 'content-type: application/json' -d {shlex.quote(body)}\n"
    )
