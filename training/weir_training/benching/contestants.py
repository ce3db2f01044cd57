"""Who is measured: an engine with one precision, behind one small interface."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from weir_training.benching.children import LineChild
from weir_training.benching.prompts import Prompt

_LOAD_S: Final = 600.0
_ASK_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Weights:
    """Numbers in a checkpoint: all (tied ones once), those between embedding and output layer, and in the latter."""

    all: int
    body: int
    head: int


@dataclass(frozen=True, slots=True)
class Label:
    """`bytes` of the weight files; `weights` of the checkpoint; `kl` against fp32, where known."""

    name: str
    engine: str
    precision: str
    bytes: int
    weights: Weights
    kl: float | None = None

    @property
    def bytes_per_weight(self) -> float:
        return self.bytes / self.weights.all


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of texts, and the file with the reference's log-probabilities for them (see `workers.divergence`)."""

    texts: tuple[tuple[int, ...], ...]
    reference: Path


class Speed(NamedTuple):
    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds


class Contestant(Protocol):
    """One engine, loaded by `open` and gone after `close`. All choose greedily, and no end token ends an answer."""

    @property
    def label(self) -> Label: ...

    @property
    def rss_bytes(self) -> int:
        """Resident memory after the last order."""
        ...

    def open(self) -> None:
        """Raises JobError when it cannot be loaded."""
        ...

    def prefill(self, prompt: Prompt) -> Speed:
        """Read one prompt and choose one token."""
        ...

    def decode(self, prompts: Sequence[Prompt], steps: int) -> Speed:
        """Answer all prompts at once; count about `steps` tokens of each while all of them decode."""
        ...

    def divergence(self, sample: Sample) -> float | None:
        """Mean KL of the checkpoint's next-token distributions against this engine's; none: it shows no logits."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What every contestant is given alike."""

    threads: int
    users: int
    context_tokens: int
    decode_tokens: int  # most tokens of an answer while decoding is measured


class PipeContestant:
    """An engine in a worker process. `as_text`: it wants prompts as text; `most`: tokens of an answer at most."""

    def __init__(
        self,
        label: Label,
        command: "WorkerCommand",
        load: Mapping[str, Any],
        *,
        most: int | None,
        as_text: bool = False,
        shows_logits: bool = False,
    ) -> None:
        self.label = label
        self._command = command
        self._load = load
        self._most = {} if most is None else {"most": most}
        self._as_text = as_text
        self._shows_logits = shows_logits
        self._child: LineChild | None = None

    @property
    def rss_bytes(self) -> int:
        return 0 if self._child is None else self._child.rss_bytes

    def open(self) -> None:
        self._child = self._command.start()
        self._child.ask("load", timeout_s=_LOAD_S, **self._load)

    def prefill(self, prompt: Prompt) -> Speed:
        answer = self._ask("prefill", prompt=self._given(prompt))
        return Speed(len(prompt.ids), answer["seconds"])

    def decode(self, prompts: Sequence[Prompt], steps: int) -> Speed:
        given = [self._given(prompt) for prompt in prompts]
        answer = self._ask("decode", prompts=given, steps=steps, **self._most)
        return Speed(answer["tokens"], answer["seconds"])

    def divergence(self, sample: Sample) -> float | None:
        if not self._shows_logits:
            return None
        texts = [list(text) for text in sample.texts]
        return float(self._ask("divergence", texts=texts, reference=str(sample.reference))["kl"])

    def trace(self, requests: Sequence[Mapping[str, Any]], *, at_once: int | None) -> list[list[float]]:
        """Serve requests at their times; return per request the seconds to its first and last token, and its tokens."""
        answers: list[list[float]] = self._ask("trace", requests=list(requests), at_once=at_once)["answers"]
        return answers

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _given(self, prompt: Prompt) -> Any:
        return prompt.text if self._as_text else list(prompt.ids)

    def _ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        if self._child is None:
            raise RuntimeError(f"{self.label.name} is not open")
        return self._child.ask(op, timeout_s=_ASK_S, **arguments)


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How to start a worker: `python -m weir_training.benching.workers.<name>`."""

    python: Path
    worker: str
    log: Path
    environment: Mapping[str, str]

    def start(self) -> LineChild:
        module = f"weir_training.benching.workers.{self.worker}"
        return LineChild([self.python, "-m", module], self.log, environment=self.environment)


THIS_PYTHON: Final = Path(sys.executable)
Maker = Callable[[], Contestant]
