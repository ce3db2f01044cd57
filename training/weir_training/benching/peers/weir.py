"""Weir itself, twice: the model alone, and the engine around it."""

from typing import Final

from weir_training.benching.contestants import THIS_PYTHON, Label, PipeContestant, Setup, WorkerCommand
from weir_training.benching.target import Target
from weir_training.export import folder_bytes

KV_BYTES: Final = 4 << 30
MAX_WAITING: Final = 1024
LEVELS: Final = ("model", "engine")


def weir(target: Target, flavour: str, level: str, setup: Setup, *, caching: bool = False) -> PipeContestant:
    """Return the flavour as a contestant: `model` runs rows through the graph, `engine` answers requests.

    `caching` says whether it may keep prefixes and guess ahead. Not where the same prompts come again each round, and
    reading and decoding them is what is measured.
    """
    label = label_of(target, flavour, level)
    command = WorkerCommand(THIS_PYTHON, f"weir_{level}", target.folder / "logs" / f"weir-{level}-{flavour}.log", {})
    graph = target.graph(flavour)
    if level == "model":
        load = {"graph": str(graph), "slots": setup.users, "context_tokens": setup.context_tokens}
        return PipeContestant(label, command, {**load, "threads": setup.threads}, most=None, shows_logits=True)
    load = {
        "release": str(target.release),
        "flavour": flavour,
        "threads": setup.threads,
        "max_running": setup.users,
        "max_waiting": MAX_WAITING,
        "kv_budget_bytes": KV_BYTES,
        "max_context_tokens": setup.context_tokens,
        "prefix_cache": caching,
        **({} if caching else {"max_draft_tokens": 0}),
    }
    return PipeContestant(label, command, load, most=setup.decode_tokens, as_text=True)


def label_of(target: Target, flavour: str, level: str) -> Label:
    found = target.manifest.format_of(flavour)
    kl = None if found is None or not target.manifest.gate_passed else found.parity.mean_kl
    size = folder_bytes(target.graph(flavour).parent)
    return Label(f"weir {flavour} ({level})", "weir", flavour.removeprefix("cpu-"), size, target.weights, kl)
