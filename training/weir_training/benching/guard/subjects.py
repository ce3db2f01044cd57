"""Who is measured: a guard in a process of its own, with the same terms and patterns as the others."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from weir.contracts.errors import JobError
from weir_training.benching.contestants import THIS_PYTHON, WorkerCommand
from weir_training.benching.environments import code_path, environment
from weir_training.progress import Progress

WEIR: Final = "weir"
STREAMING: Final = (WEIR, "litellm", "nemo")
PEERS: Final = {"llm-guard": "guard_llm_guard", "litellm": "guard_litellm", "nemo": "guard_nemo"}
_ENVIRONMENTS: Final = {"llm-guard": "llm-guard", "litellm": "litellm-guard", "nemo": "nemo-guard"}
_ASK_S: Final = 300.0


class Budget(NamedTuple):
    """How long a text is checked over and over, and how often at least and at most."""

    seconds: float
    least: int
    most: int


class Subject:
    """One guard. Its times are taken inside its process, around the call alone."""

    def __init__(self, name: str, command: WorkerCommand, budget: Budget) -> None:
        self.name = name
        self.is_ours = name == WEIR
        self.budget = budget
        self._child = command.start()

    @property
    def checks(self) -> bool:
        """NeMo's buffer is measured for what it lets through; what it has searched is not its own."""
        return self.name != "nemo"

    @property
    def streams(self) -> bool:
        return self.name in STREAMING

    def load(self, name: str, terms: Sequence[str], patterns: Sequence[str], cpu: int | None) -> dict[str, Any]:
        """Build a guard and call it `name`; return the seconds it took and by how much the process grew."""
        return self._ask("load", name=name, terms=list(terms), patterns=list(patterns), cpu=cpu)

    def load_policy(self, name: str, path: Path, cpu: int | None) -> dict[str, Any]:
        """As `load`, of what a policy file says; for Weir alone."""
        return self._ask("load", name=name, path=str(path), cpu=cpu)

    def stages(self, name: str, text: str) -> dict[str, float]:
        """Return seconds of CPU per stage of a check; for Weir alone."""
        return dict(self._ask("stages", name=name, text=text)["stages"])

    def check(self, name: str, text: str) -> dict[str, list[float]]:
        return self._ask("check", name=name, text=text, **self.budget._asdict())

    def stream(self, name: str, pieces: Sequence[str]) -> dict[str, list[Any]]:
        return self._ask("stream", name=name, pieces=list(pieces))

    def released(self, name: str, pieces: Sequence[str]) -> str:
        return str(self._ask("released", name=name, pieces=list(pieces))["text"])

    def first(self, name: str, answers: Iterable[Sequence[str]]) -> list[int]:
        return list(self._ask("first", name=name, answers=[list(pieces) for pieces in answers])["pieces"])

    def close(self) -> None:
        self._child.close()

    def _ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._child.ask(op, timeout_s=_ASK_S, **arguments)
        except JobError as error:
            raise JobError(f"{self.name}: {error}") from error


def ours(folder: Path) -> Subject:
    return Subject(WEIR, WorkerCommand(THIS_PYTHON, "guard_weir", folder / "weir.log", {}), Budget(0.15, 20, 400))


def tokenized(texts: Sequence[str], peers: Path, folder: Path, progress: Progress) -> list[list[str]]:
    """Return texts in the tokens of a real vocabulary; LiteLLM's environment, which carries one, is made for it."""
    python = environment(_ENVIRONMENTS["litellm"], peers, progress)
    carried = next(python.parents[1].glob("lib/python*/site-packages/litellm/litellm_core_utils/tokenizers"), None)
    if carried is None:
        raise JobError("litellm: no tokenizers in its package")
    variables = {**code_path(peers), "TIKTOKEN_CACHE_DIR": str(carried)}
    child = WorkerCommand(python, "guard_tokens", folder / "tokens.log", variables).start()
    try:
        return list(child.ask("cut", timeout_s=_ASK_S, texts=list(texts))["answers"])
    finally:
        child.close()


def peer(name: str, peers: Path, folder: Path, progress: Progress) -> Subject:
    """Start a peer in its own environment, installed where that was not done."""
    python = environment(_ENVIRONMENTS[name], peers, progress)
    variables = {**code_path(peers), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Subject(name, WorkerCommand(python, PEERS[name], folder / f"{name}.log", variables), Budget(0.4, 2, 60))
