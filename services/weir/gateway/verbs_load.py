"""`weir releases load`: makes running nodes serve a version that is published."""

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from http.client import HTTPException
from typing import Annotated, Any, Final

import typer

from weir.backends.connecting import NODE_URL, connect
from weir.contracts.errors import JobError, UsageError
from weir.contracts.repository import REPOSITORY_KEY
from weir.contracts.request import MODEL_NAME
from weir.routing.rollout import State, of_version

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_SILENCE_S: Final = 660.0  # a node may take ten minutes to load
_MOST_BYTES: Final = 64 * 1024
_BAD: Final = {State.REFUSED, State.LOST}

Line = dict[str, Any]


@app.command()
def load(
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
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line, as things happen")] = False,
) -> None:
    """Make every node load a version while it serves; one that cannot goes on with what it has.

    The first node goes alone. When one refuses, no other is touched and those before it are put back.
    """
    model, version = _release(release)
    nodes, gateways = _urls(node, NODE_URL, "--node"), _urls(gateway, r"^https?://[^\s/]+/?$", "--gateway")
    if not nodes and not gateways:
        raise UsageError("which nodes? give --node or --gateway")
    refused = asyncio.run(_told_nodes(nodes, model, version, repository_key, as_json=as_json)) if nodes else []
    for url in () if refused else gateways:
        refused += _told_gateway(url, model, version, admin_token, as_json=as_json)
    if refused:
        raise JobError(f"not loaded by {', '.join(refused)}: what they served before goes on")


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


async def _told_nodes(urls: Sequence[str], model: str, version: int, key: str, *, as_json: bool) -> list[str]:
    """Return the nodes that refused."""
    nodes = [connect(url, url, model, repository_key=key) for url in urls]
    refused = []
    try:
        async with aclosing(of_version(model, version)(nodes)) as steps:
            async for step in steps:
                _print(
                    {"node": step.node, "state": step.state, "words": step.words, "seconds": round(step.seconds, 3)},
                    as_json=as_json,
                )
                refused += [step.node] if step.state in _BAD else []
    finally:
        await asyncio.gather(*(node.aclose() for node in nodes))
    return refused


def _told_gateway(url: str, model: str, version: int, token: str, *, as_json: bool) -> list[str]:
    """Return those of the gateway's nodes that refused, or the gateway itself."""
    refused: list[str] = []
    last: Line = {}
    for last in _lines(url, f"/admin/models/{model}/load", {"version": version}, token):
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
