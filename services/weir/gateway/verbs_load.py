"""`weir releases load`: makes running nodes serve a version that is published."""

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from http.client import HTTPException
from typing import Annotated, Any, Final

import typer

from weir.backends.connecting import NODE_URL, connect
from weir.contracts.errors import JobError, UsageError
from weir.contracts.repository import REPOSITORY_KEY
from weir.contracts.request import MODEL_NAME
from weir.routing.rollout import Rollout, State, of_adapter, of_adapters_absence, of_version

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_SILENCE_S: Final = 660.0  # a node may take ten minutes to load
_MOST_BYTES: Final = 64 * 1024
_BAD: Final = {State.REFUSED, State.LOST}

Line = dict[str, Any]


@app.command()
def load(  # noqa: PLR0913 - options of a command line
    release: Annotated[str, typer.Argument(metavar="MODEL/VERSION", help="as `weir releases` lists them")],
    node: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="http://HOST:PORT or grpc://HOST:PORT; may be repeated")
    ] = None,
    gateway: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="a gateway's admin port: all its nodes, and itself")
    ] = None,
    repository_key: Annotated[
        str, typer.Option(envvar="WEIR_REPOSITORY_KEY", help=f"sent to nodes as `{REPOSITORY_KEY}`")
    ] = "",
    admin_token: Annotated[str, typer.Option(envvar="WEIR_ADMIN_TOKEN", help="sent to gateways")] = "",
    adapter: Annotated[
        str | None, typer.Option(help="one that lies beside the release, not the release itself")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="with --adapter: it was deleted there")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line, as things happen")] = False,
) -> None:
    """Make every node load a version while it serves; one that cannot goes on with what it has.

    The first node goes alone. When one refuses, no other is touched and those before it are put back.
    """
    model, version = _release(release)
    change = _Change(model, version, adapter, remove)
    nodes, gateways = _urls(node, NODE_URL, "--node"), _urls(gateway, r"^https?://[^\s/]+/?$", "--gateway")
    if not nodes and not gateways:
        raise UsageError("which nodes? give --node or --gateway")
    refused = asyncio.run(_told_nodes(nodes, change, repository_key, as_json=as_json)) if nodes else []
    for url in () if refused else gateways:
        refused += _told_gateway(url, change, admin_token, as_json=as_json)
    if refused:
        raise JobError(f"not {change.done} by {', '.join(refused)}: what they served before goes on")


@dataclass(frozen=True, slots=True)
class _Change:
    """What nodes are to do."""

    model: str
    version: int
    adapter: str | None
    is_removal: bool

    def __post_init__(self) -> None:
        if self.is_removal and self.adapter is None:
            raise UsageError("--remove needs --adapter NAME")
        if self.adapter is not None and not re.fullmatch(MODEL_NAME, self.adapter):
            raise UsageError(f"--adapter {self.adapter}: must match {MODEL_NAME}")

    @property
    def done(self) -> str:
        return "let go" if self.is_removal else "loaded"

    @property
    def path(self) -> str:
        """The route of a gateway's admin port."""
        adapter = "" if self.adapter is None else f"/adapters/{self.adapter}"
        return f"/admin/models/{self.model}{adapter}/{'unload' if self.is_removal else 'load'}"

    def rollout(self) -> Rollout:
        if self.adapter is None:
            return of_version(self.model, self.version)
        return (of_adapters_absence if self.is_removal else of_adapter)(self.model, self.adapter)


def _release(text: str) -> tuple[str, int]:
    model, _, version = text.partition("/")
    if not re.fullmatch(MODEL_NAME, model) or not re.fullmatch(r"[1-9][0-9]{0,9}", version):
        raise UsageError(f"{text}: expected MODEL/VERSION, e.g. faq/2")
    return model, int(version)


def _urls(given: Sequence[str] | None, pattern: str, option: str) -> list[str]:
    for url in given or ():
        if not re.match(pattern, url):
            raise UsageError(f"{option} {url}: expected e.g. http://127.0.0.1:8100")
    return list(given or ())


async def _told_nodes(urls: Sequence[str], change: _Change, key: str, *, as_json: bool) -> list[str]:
    """Return the nodes that refused."""
    nodes = [connect(url, url, change.model, repository_key=key) for url in urls]
    refused = []
    try:
        async with aclosing(change.rollout()(nodes)) as steps:
            async for step in steps:
                _print(
                    {"node": step.node, "state": step.state, "words": step.words, "seconds": round(step.seconds, 3)},
                    as_json=as_json,
                )
                refused += [step.node] if step.state in _BAD else []
    finally:
        await asyncio.gather(*(node.aclose() for node in nodes))
    return refused


def _told_gateway(url: str, change: _Change, token: str, *, as_json: bool) -> list[str]:
    """Return those of the gateway's nodes that refused, or the gateway itself."""
    refused: list[str] = []
    last: Line = {}
    for last in _lines(url, change.path, {"version": change.version}, token):
        _print(last, as_json=as_json)
        refused += [f"{last['node']} of {url}"] if last.get("state") in _BAD else []
    if not refused and last.get("gateway") != "applied":
        refused.append(f"{url} ({last.get('words') or 'it stopped answering'})")
    return refused


def _lines(url: str, path: str, body: Line, token: str) -> Iterator[Line]:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url.rstrip("/") + path, json.dumps(body).encode(), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_SILENCE_S) as response:  # noqa: S310 - the scheme was checked
            for line in response:
                yield json.loads(line)
    except urllib.error.HTTPError as error:
        with error:
            raise JobError(f"the gateway at {url} refused: {_words(error.read(_MOST_BYTES))}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise JobError(f"the gateway at {url} cannot be asked: {getattr(error, 'reason', error)}") from None


def _words(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def _print(line: Line, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(line))
        return
    who = line.get("node") or "gateway"
    took = f" {line['seconds']:.1f} s" if line.get("seconds") else ""
    words = f": {line['words']}" if line.get("words") else ""
    typer.echo(f"{who:<24} {line.get('state') or line.get('gateway')}{took}{words}")
