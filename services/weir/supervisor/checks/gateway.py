"""A gateway's installation: its settings say what there is to check."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from weir.contracts.errors import WeirError
from weir.contracts.finding import Finding, warn
from weir.contracts.manifest import ReleaseManifest
from weir.gateway.diagnosis import Diagnosis, diagnosed
from weir.gateway.settings import GatewaySettings, load_settings
from weir.release.reader import newest_version, read_any_manifest
from weir.supervisor.checks.nodes import Expected, nodes
from weir.supervisor.checks.ports import ports
from weir.supervisor.checks.settings import Read, read

_LOCAL_NODE: Final = {"name": "cpu-0", "url": "http://127.0.0.1:8100"}
_CHECK: Final = "gateway settings"


def gateway(flags: Mapping[str, Any], config: Path | None) -> Iterator[Finding]:
    """Look at everything that a gateway with these settings needs; `flags` as `load_settings` takes them."""
    said = _settings(flags, config)
    yield said.finding
    if said.settings is not None:
        yield from _found(diagnosed(said.settings))


def home_of(flags: Mapping[str, Any], config: Path | None) -> Path:
    """Return where the gateway's files live, as far as it says."""
    settings = _settings(flags, config).settings
    return Path(flags.get("home", ".weir")) if settings is None else settings.home


def _found(found: Diagnosis) -> Iterator[Finding]:
    yield from found.findings
    yield from ports(found.places)
    yield from nodes(found.nodes, [Expected(*one) for one in found.expected])
    for model, version, urls in found.embedders:
        yield from nodes([(f"{model}@{number}", url) for number, url in enumerate(urls)], [Expected(model, version)])


def _settings(flags: Mapping[str, Any], config: Path | None) -> Read[GatewaySettings]:
    """Where nothing says which nodes and releases there are: what `weir up` makes on one machine."""
    said = read(_CHECK, load_settings, flags, config)
    if not said.is_missing or config is not None or flags.keys() & {"nodes", "releases"}:
        return said
    home = Path(flags.get("home", ".weir"))
    releases = [path for path in sorted((home / "releases").glob("*")) if path.is_dir() and _generates(path)]
    if not releases:
        says = f"none given, and no release below {home / 'releases'}: only this machine was checked"
        return Read(None, warn(_CHECK, says, "`weir up` makes one; or give --config, or --node and --release"))
    local = read(_CHECK, load_settings, {**flags, "nodes": [_LOCAL_NODE], "releases": releases}, None)
    if local.settings is None:
        return local
    says = f"none given: checked as `weir up` serves, {_LOCAL_NODE['url']} and {home}"
    return Read(local.settings, warn(_CHECK, says, "give --config, or --node and --release"))


def _generates(versions: Path) -> bool:
    """Whether it does, as far as it can be read: classifiers and embedders are served only where settings say so."""
    with suppress(WeirError):
        return isinstance(read_any_manifest(newest_version(versions)), ReleaseManifest)
    return True
