"""The network: one namespace is the machine, one is each pod, routes and rules between them."""

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cluster.shell import CommandError, run
from tests.support.debian import Programs

_CLONE_NEWNET = 0x40000000
_GATEWAY = "169.254.1.1"
_libc = ctypes.CDLL(None, use_errno=True)


class Network:
    """Makes pods' namespaces, each with one address and a route over the machine's namespace (as Calico does)."""

    def __init__(self, prefix: str, tools: Programs) -> None:
        self._prefix = prefix
        self._nft = tools.command("nft")
        self._links: dict[str, str] = {}
        self._lock = threading.Lock()
        self.machine = f"{prefix}-machine"
        run(["ip", "netns", "add", self.machine])
        run(["ip", "-n", self.machine, "link", "set", "lo", "up"])
        run(["ip", "-n", self.machine, "addr", "add", f"{_GATEWAY}/32", "dev", "lo"])
        self._in_machine("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def add(self, pod: str, address: str) -> str:
        """Make a pod's namespace and return its name."""
        space = f"{self._prefix}-{pod}"
        link = f"v{abs(hash(space)) % 10**12:012d}"
        run(["ip", "netns", "add", space])
        run(["ip", "link", "add", link, "netns", self.machine, "type", "veth", "peer", "name", "eth0", "netns", space])
        for words in (
            ["link", "set", "lo", "up"], ["addr", "add", f"{address}/32", "dev", "eth0"], ["link", "set", "eth0", "up"],
            ["route", "add", _GATEWAY, "dev", "eth0"], ["route", "add", "default", "via", _GATEWAY, "dev", "eth0"],
        ):  # fmt: skip
            run(["ip", "-n", space, *words])
        run(["ip", "-n", self.machine, "link", "set", link, "up"])
        run(["ip", "-n", self.machine, "route", "add", f"{address}/32", "dev", link])
        self._in_machine("sysctl", "-qw", f"net.ipv4.conf.{link}.proxy_arp=1")
        with self._lock:
            self._links[space] = link
        return space

    def remove(self, space: str) -> None:
        with self._lock:
            self._links.pop(space, None)
        with contextlib.suppress(CommandError):
            run(["ip", "netns", "del", space])

    def cut(self, space: str) -> None:
        """Take a pod's cable out: nothing comes or goes, and nobody is told."""
        run(["ip", "-n", self.machine, "link", "set", self._links[space], "down"])

    def heal(self, space: str) -> None:
        run(["ip", "-n", self.machine, "link", "set", self._links[space], "up"])
        address = run(["ip", "-n", space, "-4", "-br", "addr", "show", "eth0"]).split()[2]
        run(["ip", "-n", self.machine, "route", "replace", address, "dev", self._links[space]])

    def apply(self, rules: str) -> None:
        """Replace all rules of the machine's namespace at once."""
        self._in_machine(*self._nft, "-f", "-", text=f"table ip weir\ndelete table ip weir\n{rules}")

    def close(self) -> None:
        for space in [*self._links, self.machine]:
            self.remove(space)

    def _in_machine(self, *words: str, text: str | None = None) -> str:
        return run(["ip", "netns", "exec", self.machine, *words], text=text)


@contextmanager
def inside(space: str) -> Iterator[None]:
    """Let this thread make its sockets in a namespace; a socket stays where it was made."""
    before = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    there = os.open(Path("/run/netns") / space, os.O_RDONLY)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)
        os.close(there)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def connect(space: str, address: tuple[str, int], timeout_s: float) -> socket.socket:
    """Open a connection as somebody in that namespace would."""
    with inside(space):
        made = socket.socket()
    made.settimeout(timeout_s)
    try:
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made
