"""Shows a release to what serves it: a link in the model repository, a word to running nodes."""

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from weir.contracts.errors import UsageError
from weir_training.triton_entry import write_entry

_LOAD_TIMEOUT_S = 300.0  # a node reads and checks the whole release before it answers
_REASON_CHARS = 300


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """`error` is None when the node now serves the version; else it goes on with the one it had."""

    url: str
    error: str | None


def default_repository(home: Path) -> Path:
    """`model_repository` beside the home (a checkout has one), else inside it."""
    beside = home.resolve().parent / "model_repository"
    return beside if beside.is_dir() else home / "model_repository"


def link_release(root: Path, repository: Path) -> Path:
    """Make `<repository>/<model>/<version>` a relative link to the release at `root`; an older link is replaced.

    The model's `config.pbtxt` for Triton is written once.
    """
    link = repository / root.parent.name / root.name
    link.parent.mkdir(parents=True, exist_ok=True)
    write_entry(link.parent)
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(root.resolve(), link.parent.resolve()), target_is_directory=True)
    temporary.replace(link)
    return link


def check_node_url(url: str) -> str:
    """Return `url` without a trailing slash.

    Raises:
        UsageError: it is not http(s)://host[:port].
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise UsageError(f"--node {url}: expected http://host:port")
    return url.rstrip("/")


def tell_node(url: str, model: str, version: int, *, timeout_s: float = _LOAD_TIMEOUT_S) -> NodeAnswer:
    """Ask a node to load the version (Open Inference Protocol, repository extension). Never raises for its answer."""
    request = urllib.request.Request(  # noqa: S310 — check_node_url lets only http and https in
        f"{check_node_url(url)}/v2/repository/models/{model}/load",
        data=json.dumps({"parameters": {"version": version}}).encode(),
        headers={"content-type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310
            return NodeAnswer(url, None)
    except urllib.error.HTTPError as error:
        with error:
            return NodeAnswer(url, f"{error.code}: {error.read(_REASON_CHARS).decode(errors='replace').strip()}")
    except OSError as error:
        return NodeAnswer(url, f"cannot be reached ({getattr(error, 'reason', error)})")
