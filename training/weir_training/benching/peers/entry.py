"""Which contestants a name on the command line stands for, and what becomes of those that cannot be had."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final, TypeVar

from weir.contracts.errors import JobError, UsageError
from weir_training.benching.contestants import Contestant, PipeContestant, Setup
from weir_training.benching.http_contestant import HttpContestant
from weir_training.benching.peers.llama_cpp import PRECISIONS as LLAMA
from weir_training.benching.peers.llama_cpp import llama_bench
from weir_training.benching.peers.openvino import PRECISIONS as OPENVINO
from weir_training.benching.peers.openvino import openvino
from weir_training.benching.peers.servers import llama_server, node, openvino_server
from weir_training.benching.peers.static import GENAI_PRECISIONS, TRANSFORMERS_PRECISIONS, genai, transformers
from weir_training.benching.peers.weir import LEVELS, weir
from weir_training.benching.target import Target
from weir_training.progress import Progress

_C = TypeVar("_C")
Maker = Callable[[Target, str, Setup, Path, Progress], Contestant]
PEERS: Final[dict[str, tuple[Maker, tuple[str, ...]]]] = {
    "openvino": (openvino, OPENVINO),
    "llama-cpp": (llama_bench, LLAMA),
    "genai": (genai, GENAI_PRECISIONS),
    "transformers": (transformers, TRANSFORMERS_PRECISIONS),
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A contestant that could not be had, and why."""

    name: str
    reason: str


def check_peers(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each once.

    Raises:
        UsageError: one of them is no peer.
    """
    for name in names:
        if name not in PEERS:
            raise UsageError(f"--peer {name}: not known (there are {', '.join(PEERS)})")
    return tuple(dict.fromkeys(names))


def contestants(
    target: Target, flavours: Sequence[str], peers: Sequence[str], setup: Setup, folder: Path, progress: Progress
) -> Iterator[Contestant | Missing]:
    """Yield Weir's flavours on both levels, then every precision of each peer; a peer that cannot be had as Missing."""
    for flavour in flavours:
        for level in LEVELS:
            yield weir(target, flavour, level, setup)
    for peer in peers:
        make, precisions = PEERS[peer]
        for precision in precisions:
            yield _had(f"{peer} {precision}", partial(make, target, precision, setup, folder, progress))


def serving(
    target: Target, flavours: Sequence[str], peers: Sequence[str], setup: Setup, folder: Path, progress: Progress
) -> Iterator[PipeContestant | HttpContestant | Missing]:
    """Yield who serves requests as they arrive; OpenVINO with and without its prefix cache."""
    for flavour in flavours:
        yield weir(target, flavour, "engine", setup, caching=True)
    for peer in peers:
        if peer == "openvino":
            for precision, cached in product(OPENVINO, (False, True)):
                make = partial(openvino, target, precision, setup, folder, progress, prefix_caching=cached)
                yield _had(f"{peer} {precision}", make)
        elif peer == "llama-cpp":
            for precision in LLAMA:
                yield _had(f"{peer} {precision}", partial(llama_server, target, precision, setup, folder, progress))
        else:
            yield Missing(peer, "takes no requests while it answers others")


def over_http(
    target: Target, flavours: Sequence[str], peers: Sequence[str], setup: Setup, folder: Path, progress: Progress
) -> Iterator[PipeContestant | HttpContestant | Missing]:
    """Yield the servers, and before each of Weir's nodes the same engine without HTTP."""
    for flavour in flavours:
        yield weir(target, flavour, "engine", setup, caching=True)
        yield node(target, flavour, setup)
    servers = {"openvino": (openvino_server, OPENVINO), "llama-cpp": (llama_server, LLAMA)}
    for peer in peers:
        if peer not in servers:
            yield Missing(peer, "comes without a server")
            continue
        make, precisions = servers[peer]
        for precision in precisions:
            yield _had(f"{peer} {precision}", partial(make, target, precision, setup, folder, progress))


def _had(name: str, make: Callable[[], _C]) -> _C | Missing:
    """Make a contestant; why it could not be had is a result, too."""
    try:
        return make()
    except (JobError, OSError) as error:
        return Missing(name, str(error))
