"""Tells running nodes which version to load, by `weir releases load` in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from weir.contracts.errors import JobError, UsageError

Show = Callable[[str], None]
_SCHEMES = {"--node": ("http", "https", "grpc"), "--gateway": ("http", "https")}


def check_url(option: str, url: str) -> str:
    """Return `url` without a trailing slash; early, for making a release takes time.

    Raises:
        UsageError: it is not SCHEME://host:port.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES[option] or not parts.netloc:
        raise UsageError(f"{option} {url}: expected {' or '.join(_SCHEMES[option])}://host:port")
    return url.rstrip("/")


@dataclass(frozen=True, slots=True)
class Told:
    """`nodes`: by name, why each refused; none: it serves the version. `error`: why not all of them do."""

    nodes: Mapping[str, str | None]
    error: str | None

    def raise_for_refusals(self) -> None:
        """Raise JobError unless everybody who was told serves the version."""
        if self.error is not None:
            raise JobError(f"published, but {self.error}")


def tell(
    model: str,
    version: int,
    *,
    nodes: Sequence[str],
    gateways: Sequence[str],
    show: Show,
    options: Sequence[str] = (),
) -> Told:
    """Make nodes load a version, or what `options` say of it; `show` is given a line for each thing that happens."""
    if not nodes and not gateways:
        return Told({}, None)
    command = [sys.executable, "-m", "weir", "releases", "load", f"{model}/{version}", "--json", *options]
    command += [word for url in nodes for word in ("--node", url)]
    command += [word for url in gateways for word in ("--gateway", url)]
    found: dict[str, str | None] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        for line in child.stdout or ():
            happened = json.loads(line)
            if "node" in happened:
                found[happened["node"]] = happened["words"] or None
            show(_in_words(happened))
        said = child.stderr.read().strip() if child.stderr else ""
    return Told(found, None if child.returncode == 0 else said.removeprefix("weir: "))


def _in_words(happened: Mapping[str, Any]) -> str:
    who = f"node     {happened['node']}" if "node" in happened else "gateway "
    state = happened.get("state") or happened.get("gateway")
    took = f" after {happened['seconds']:.1f} s" if happened.get("seconds") else ""
    words = f": {happened['words']}" if happened.get("words") else ""
    return f"{who} {state}{took}{words}"
