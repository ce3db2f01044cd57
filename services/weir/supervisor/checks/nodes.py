"""Each node: is it there, does it serve what the gateway will ask for, is it the same Weir, and do the clocks agree."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from time import time  # noqa: TID251 - clocks are what is compared
from typing import Any, Final, NamedTuple

from weir import __version__
from weir.contracts.finding import Finding, fail, ok, warn
from weir.supervisor.checks.asking import Answer, asked

_MOST_SKEW_S: Final = 2.0  # beyond the second that a Date header is cut to
_DATE_CUT_S: Final = 0.5


class Expected(NamedTuple):
    """What the gateway asks its nodes for."""

    model: str
    version: int


def nodes(urls: Iterable[tuple[str, str]], expected: Sequence[Expected]) -> Iterator[Finding]:
    """Look at the nodes, given as names and URLs: each is to serve one of the models, and each model to have a node."""
    served: set[Expected] = set()
    for name, url in urls:
        ask = _grpc_node if url.startswith("grpc") else _http_node
        yield from ask(name, url, expected, served)
    if len(expected) > 1:
        yield from [_without_node(one, is_default=one is expected[0]) for one in expected if one not in served]


def _without_node(one: Expected, *, is_default: bool) -> Finding:
    check, cure = f"model {one.model}", _load(one)
    if is_default:
        return fail(check, "no node serves it, and it is the default model: the gateway will not be ready", cure)
    return warn(check, "no node serves it: requests for it are answered 503", cure)


def _http_node(name: str, url: str, expected: Sequence[Expected], served: set[Expected]) -> Iterator[Finding]:
    check, began = f"node {name}", time()
    try:
        answer = asked(f"{url.rstrip('/')}/v2")
        said = _object(answer)
    except (OSError, HTTPException) as error:
        cure = "start it (`weir node`), or mend its address in the gateway's settings, or the network between"
        yield fail(check, f"{url} does not answer ({_kind(error)})", cure)
        return
    except ValueError:
        yield fail(check, f"{url} answers, but is no node (no Open Inference Protocol at /v2)", "mend its address")
        return
    is_ours = said.get("name") == "weir-node"
    yield _version(check, url, str(said.get("name")), str(said.get("version")), is_ours=is_ours)
    yield _clock(name, answer, began, time())
    yield from _models(name, {one: _model(name, url, one) for one in expected}, served)


def _models(name: str, found: Mapping[Expected, Finding | None], served: set[Expected]) -> Iterator[Finding]:
    """Tell what a node serves, and add it to `served`; none: it does not have the model."""
    there = {one: finding for one, finding in found.items() if finding is not None}
    served.update(there)
    yield from there.values()
    if found and not there:
        first = next(iter(found))
        yield fail(f"model at {name}", f"it does not serve {', or '.join(one.model for one in found)}", _load(first))


def _version(check: str, url: str, server: str, version: str, *, is_ours: bool) -> Finding:
    says = f"{url} is {server} {version}"
    if is_ours and version != __version__:
        return warn(check, f"{says}; here is {__version__}", "run one version of Weir on both sides")
    return ok(check, says)


def _clock(name: str, answer: Answer, began: float, ended: float) -> Finding:
    check = f"clock of {name}"
    theirs = _epoch(answer.date)
    if theirs is None:
        return warn(check, "it sends no Date header, so its clock cannot be compared")
    skew_s = theirs + _DATE_CUT_S - (began + ended) / 2
    if abs(skew_s) > _MOST_SKEW_S + (ended - began) / 2:
        says = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
        return warn(check, says, "synchronise both with NTP: logs, traces and usage are dated by these clocks")
    return ok(check, "agrees with this machine's to within two seconds")


def _epoch(date: str | None) -> float | None:
    try:
        return None if date is None else _dated(date).timestamp()
    except ValueError:
        return None


def _dated(text: str) -> datetime:
    return parsedate_to_datetime(text)


def _model(name: str, url: str, expected: Expected) -> Finding | None:
    """None: it does not serve the model."""
    check = f"model at {name}"
    wanted = f"{expected.model} version {expected.version}"
    try:
        found = asked(f"{url.rstrip('/')}/v2/models/{expected.model}")
        if found.status == 404:
            return None
        said = _object(found)
        is_ready = asked(f"{url.rstrip('/')}/v2/models/{expected.model}/ready").status == 200
    except (OSError, HTTPException, ValueError) as error:
        return fail(check, f"it does not say what it serves ({_kind(error)})", "look into its log")
    return _served(check, wanted, [str(version) for version in said.get("versions", ())], expected, is_ready=is_ready)


def _served(check: str, wanted: str, versions: list[str], expected: Expected, *, is_ready: bool) -> Finding:
    if str(expected.version) not in versions:
        says = f"it serves version {', '.join(versions) or 'none'}; the gateway expects {wanted}"
        return fail(check, says, _load(expected))
    if not is_ready:
        return fail(check, f"{wanted} is there, but not ready", "wait until it is loaded, or look into the node's log")
    return ok(check, f"{wanted} is ready")


def _load(expected: Expected) -> str:
    body = json.dumps({"parameters": {"version": expected.version}})
    return f"load it: POST /v2/repository/models/{expected.model}/load with {body}, or restart the node"


def _grpc_node(name: str, url: str, expected: Sequence[Expected], served: set[Expected]) -> Iterator[Finding]:
    check = f"node {name}"
    try:
        import tritonclient.grpc as client  # here: large, and only for these nodes
    except ModuleNotFoundError as error:
        yield fail(check, f"{url}: a grpc:// node needs {error.name}", "pip install 'weir[triton-nodes]'")
        return
    with client.InferenceServerClient(url.partition("://")[2].rstrip("/")) as triton:
        try:
            said = triton.get_server_metadata(client_timeout=3)
            yield _version(check, url, said.name, said.version, is_ours=False)
            ready = [one for one in expected if triton.is_model_ready(one.model, str(one.version), client_timeout=3)]
        except client.InferenceServerException as error:
            yield fail(check, f"{url} does not answer ({error.status()})", "start it, or mend its address")
            return
    served.update(ready)
    yield from [ok(f"model at {name}", f"{one.model} version {one.version} is ready") for one in ready]
    if expected and not ready:
        wanted = ", or ".join(f"{one.model} version {one.version}" for one in expected)
        yield fail(
            f"model at {name}", f"{wanted} is not ready there", "publish it into Triton's repository and load it"
        )


def _object(answer: Answer) -> dict[str, Any]:
    """Raises ValueError when it is no JSON object, or not 200."""
    value = json.loads(answer.body) if answer.status == 200 else None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - what came is wrong, not what was passed
    return value


def _kind(error: Exception) -> str:
    """Name an error by what the system calls it."""
    return str(getattr(error, "strerror", None) or type(error).__name__)
