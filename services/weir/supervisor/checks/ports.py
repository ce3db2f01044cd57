"""Whether the ports are free, and who holds those that are not (Linux: `/proc`)."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from weir import __version__
from weir.asgi.listen import listen
from weir.contracts.errors import UsageError
from weir.contracts.finding import Finding, Place, fail, ok, warn
from weir.supervisor.checks.asking import asked

_LISTENING: Final = "0A"


def ports(places: Iterable[Place]) -> Iterator[Finding]:
    for place in places:
        yield _port(place)


def _port(place: Place) -> Finding:
    check, where = f"{place.name} port", f"{place.host}:{place.port}"
    try:
        listen(place.host, place.port).close()
    except UsageError as error:
        if "in use" not in str(error):
            return fail(check, str(error), "choose another address or port, or run as a user who may listen there")
    else:
        return ok(check, f"{where} is free")
    holder = _holder(place.port)
    is_ours = " weir" in f" {holder}" and any(
        word in holder for word in (" serve", " node", "weir.gateway", "cpu_node")
    )
    if not is_ours:
        return fail(check, f"{where} is held by {holder}", "end that process, or choose another port")
    return _ours(check, place, f"{where} is held by {holder}")


def _ours(check: str, place: Place, says: str) -> Finding:
    """A Weir that runs already; does it run what is installed here?"""
    running = _version_at(place)
    if running is None or running == __version__:
        return ok(check, says)
    return warn(check, f"{says}, version {running}; {__version__} is installed", "restart it")


def _version_at(place: Place) -> str | None:
    for path in ("/info", "/v2"):
        with suppress(OSError, HTTPException, ValueError):
            answer = asked(f"http://{_reached(place.host)}:{place.port}{path}")
            found: dict[str, Any] = json.loads(answer.body)
            if answer.status == 200 and ("router" in found or found.get("name") == "weir-node"):
                return str(found.get("version"))
    return None


def _reached(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what a client here asks
    return f"[{host}]" if ":" in host else host


def _holder(port: int) -> str:
    """Name the process that listens: its id and the beginning of its command, never its options' values."""
    inodes = set(_inodes(port))
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(
                f"socket:[{inode}]" == str(link.readlink()) for link in (folder / "fd").iterdir() for inode in inodes
            ):
                return f"process {folder.name} ({_command(folder)})"
    return "a process that this user may not see"


def _inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _command(folder: Path) -> str:
    """Return program, module and verb: the rest of a command may hold what is nobody's business."""
    words = (folder / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    shown = [
        Path(words[0]).name,
        *(word for word in words[1:4] if word.replace(".", "").replace("-", "").isidentifier()),
    ]
    if len(words) > 1 and words[1].startswith("/"):
        shown.insert(1, Path(words[1]).name)
    return " ".join(shown)
