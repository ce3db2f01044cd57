"""`weir generate`: asks a running gateway and prints the answer as it comes."""

import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any

import typer

from weir.contracts.errors import JobError, UsageError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MAX_ERROR_BYTES = 64 * 1024


@app.command()
def generate(  # noqa: PLR0913 - options of a command line
    question: Annotated[str, typer.Argument(help="what to ask; `-` reads standard input")],
    url: Annotated[str, typer.Option(help="the gateway")] = "http://127.0.0.1:8080",
    stream: Annotated[bool, typer.Option(help="print the text as it comes")] = True,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="at most so many tokens")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="sample; without it, or 0: greedy")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="makes sampling repeatable")] = None,
    key: Annotated[str | None, typer.Option(envvar="WEIR_KEY", help="your key, where one is needed")] = None,
    timeout_s: Annotated[float, typer.Option(help="without a word from the gateway")] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="print the whole reply as JSON")] = False,
) -> None:
    """Ask a running gateway."""
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--url {url}: this is not an http address")
    parameters = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature or None,
        "seed": seed,
        "details": as_json,
    }
    body = {"inputs": sys.stdin.read() if question == "-" else question, "parameters": parameters}
    route = "/generate_stream" if stream and not as_json else "/generate"
    try:
        with _posted(url.rstrip("/") + route, body, key, timeout_s) as response:
            if route == "/generate":
                _print_whole(json.load(response), as_json=as_json)
            else:
                _print_stream(_events(response))
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise JobError(f"the gateway at {url} stopped answering ({type(error).__name__})") from None


def _posted(url: str, body: dict[str, Any], key: str | None, timeout_s: float) -> http.client.HTTPResponse:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - the caller checked the scheme
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            raise JobError(_explained(error.code, error.read(_MAX_ERROR_BYTES))) from None
    except urllib.error.URLError as error:
        raise JobError(f"no gateway at {url} ({error.reason}); start one with `weir up` or `weir serve`") from None
    return response


def _explained(status: int, body: bytes) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "the gateway wants a key: --key, or WEIR_KEY; `weir keys create NAME` makes one (status 401)"
    try:
        return f"{json.loads(body)['error']} (status {status})"
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered with status {status}"


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in response:
        if line.startswith(b"data:"):
            yield json.loads(line[5:])


def _print_stream(events: Iterator[dict[str, Any]]) -> None:
    is_complete = False
    for event in events:
        if "error" in event:
            typer.echo()
            raise JobError(f"the answer broke off: {event['error']}")
        sys.stdout.write(event["token"]["text"])
        sys.stdout.flush()
        is_complete = event["generated_text"] is not None
    typer.echo()
    if not is_complete:
        raise JobError("the answer broke off")


def _print_whole(reply: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(reply, ensure_ascii=False) if as_json else reply["generated_text"])
