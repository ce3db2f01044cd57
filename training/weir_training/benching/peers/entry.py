"""Which contestants a name on the command line stands for, and what becomes of those that cannot be had."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weir.contracts.errors import JobError, UsageError
from weir_training.benching.contestants import Contestant, Setup
from weir_training.benching.peers.llama_cpp import PRECISIONS as LLAMA
from weir_training.benching.peers.llama_cpp import llama_bench
from weir_training.benching.peers.openvino import PRECISIONS as OPENVINO
from weir_training.benching.peers.openvino import openvino
from weir_training.benching.peers.static import GENAI_PRECISIONS, TRANSFORMERS_PRECISIONS, genai, transformers
from weir_training.benching.peers.weir import LEVELS, weir
from weir_training.benching.target import Target
from weir_training.progress import Progress

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
            try:
                yield make(target, precision, setup, folder, progress)
            except (JobError, OSError) as error:
                yield Missing(f"{peer} {precision}", str(error))
