"""What `weir doctor` wants to know of a gateway: does it have what it needs to start. Nothing is started or changed."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from weir.asgi.hosts import is_loopback
from weir.contracts.errors import UsageError, WeirError
from weir.contracts.finding import Finding, Place, fail, ok, warn
from weir.gateway.access import database_url
from weir.gateway.catalog import Catalog, ServedModel
from weir.gateway.embedder_releases import open_given
from weir.gateway.nodes import listed
from weir.gateway.settings import GatewaySettings
from weir.guard.compiled import CompiledGuard
from weir.guard.native.library import core
from weir.guard.policy import PolicyError, default_policy, load_policy
from weir.routing.discovery import Finder
from weir.store.database import StoreError
from weir.store.state import DatabaseState, database_state, reach_redis

_TIMEOUT_S: Final = 3.0
_MOST_FAULTS: Final = 20


@dataclass
class Diagnosis:
    """What was found. `nodes` are names and URLs; `expected`: models that they must serve.

    `embedders`: models with the URLs of nodes that must serve them.
    """

    findings: list[Finding]
    places: list[Place]
    nodes: list[tuple[str, str]]
    expected: list[tuple[str, int]] = field(default_factory=list)
    embedders: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)


def diagnosed(settings: GatewaySettings) -> Diagnosis:
    """Look at everything that the settings name."""
    found = Diagnosis([], _places(settings), [])
    found.nodes = _nodes(settings, found.findings)
    found.expected = [(model.name, model.version) for model in _models(settings, found.findings)]
    found.embedders = _embedders(settings, found.findings)
    found.findings += [*_policy(settings.guard), _search(), *_store(settings), *_tracing(settings)]
    return found


def _nodes(settings: GatewaySettings, findings: list[Finding]) -> list[tuple[str, str]]:
    """Find the nodes as the gateway does: in its settings, its file, and in DNS."""
    try:
        specs = listed(settings.nodes, settings.nodes_file)
    except UsageError as error:
        findings.append(fail("nodes", str(error), f"mend {settings.nodes_file or 'the settings'}"))
        return []
    finder = Finder()
    found = asyncio.run(finder.found(specs))
    cure = "mend the URL, or the name service"
    findings += [fail("nodes", f"the name {name} cannot be looked up", cure) for name in finder.failures]
    if not found and not finder.failures:
        findings.append(warn("nodes", "there are none", "list some in `nodes` or in nodes_file"))
    return [(spec.name, spec.url) for spec in found]


def _places(settings: GatewaySettings) -> list[Place]:
    places = [Place("gateway", settings.host, settings.port)]
    if settings.admin_port:
        places.append(Place("admin", settings.edge.admin_host, settings.admin_port))
    return places


def _models(settings: GatewaySettings, findings: list[Finding]) -> tuple[ServedModel, ...]:
    try:
        models = Catalog.from_releases(settings.releases).models
    except WeirError as error:
        findings.append(fail("release", str(error), "publish one (`weir publish`), or mend --release"))
        return ()
    findings += [ok("release", f"{model.name} version {model.version}") for model in models]
    return models


def _embedders(settings: GatewaySettings, findings: list[Finding]) -> list[tuple[str, int, tuple[str, ...]]]:
    found = []
    for chosen in settings.embedders_at_nodes:
        try:
            manifest = open_given(chosen.release).manifest
        except WeirError as error:
            findings.append(fail("embedder", str(error), "export one (`weir embedder export`), or mend --embedder"))
            continue
        findings.append(ok("embedder", f"{manifest.model} version {manifest.version}"))
        found.append((manifest.model, manifest.version, chosen.urls))
    return found


def _policy(path: Path | None) -> Iterator[Finding]:
    try:
        policy = default_policy() if path is None else load_policy(path)
        CompiledGuard.build(policy)
    except PolicyError as error:
        cure = f"mend the policy; try it with `weir guard check {path}`"
        yield from [fail("policy", fault, cure) for fault in error.faults[:_MOST_FAULTS]]
    except WeirError as error:
        yield fail("policy", str(error), "mend the policy, or --guard")
    else:
        says = f"{path or 'the packaged one'} ({policy.id}) loads, every example is judged as it says"
        yield ok("policy", says)
        yield from [warn("policy", warning) for warning in policy.warnings]


def _search() -> Finding:
    if core() is None:
        cure = "install a C compiler and Python's headers, then Weir again (pip install --force-reinstall --no-deps)"
        return warn("guard", "its search in C was not built: it does the same in Python, several times slower", cure)
    return ok("guard", "searches in C")


def _store(settings: GatewaySettings) -> Iterator[Finding]:
    url = database_url(settings.access, settings.home)
    named = _named(url)
    try:
        yield _database(named, database_state(url), settings)
    except UsageError as error:
        yield fail("database", str(error), "mend access.database")
    except StoreError as error:
        yield fail("database", f"{named}: {error}", "start it, or mend access.database; keys cannot be checked without")
    if settings.access.redis is not None:
        yield _redis(settings.access.redis.get_secret_value())
    yield from _audit_key(settings)


def _database(named: str, state: DatabaseState, settings: GatewaySettings) -> Finding:
    is_open = settings.access.allow_anonymous or is_loopback(settings.host)
    make_one = "weir keys create NAME"
    match state.tables:
        case "newer":
            return fail("database", f"{named} was made by a newer Weir", "install that version here")
        case "current" | "behind" if state.keys or is_open:
            note = "" if state.tables == "current" else "; its tables are older, the gateway brings them up to date"
            return ok("database", f"{named}: {state.keys} keys{note}")
        case "absent" | "empty" if is_open:
            return ok("database", f"{named}: nothing there yet; the gateway makes it")
        case _:
            says = f"{named}: nobody has a key, and {settings.host} can be reached by others"
            return fail("database", says, f"{make_one}, or --allow-anonymous to serve everybody")


def _named(url: str) -> str:
    """Name a database without user, password and options."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return "the database"
    place = f"{parsed.host or 'localhost'}/" if parsed.get_backend_name() != "sqlite" else ""
    return f"{parsed.get_backend_name()} {place}{parsed.database or ''}"


def _redis(url: str) -> Finding:
    try:
        reach_redis(url, timeout_s=_TIMEOUT_S)
    except StoreError as error:
        return fail("redis", str(error), "start it, or mend access.redis; limits cannot be shared without")
    return ok("redis", "answers")


def _audit_key(settings: GatewaySettings) -> Iterator[Finding]:
    path = settings.access.audit_key_file
    if path is not None and settings.access.audit_days and not os.access(path, os.R_OK):
        yield fail(
            "audit key", f"{path} cannot be read", "make it readable for this user, or mend access.audit_key_file"
        )


def _tracing(settings: GatewaySettings) -> Iterator[Finding]:
    if settings.tracing is None:
        return
    parts = urlsplit(settings.tracing.endpoint)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with closing(socket.create_connection((host, port), timeout=_TIMEOUT_S)):
            yield ok("tracing", f"a collector listens at {host}:{port}")
    except OSError:
        yield warn(
            "tracing", f"nothing listens at {host}:{port}; spans are lost", "start the collector, or mend tracing"
        )
