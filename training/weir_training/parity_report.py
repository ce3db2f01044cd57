"""`parity.json` of a run: what verify measured, read back by publish."""

from typing import Final, Literal

from pydantic import ValidationError

from weir.contracts.errors import JobError
from weir.contracts.manifest import GoldenPrompt, Parity, Sha256
from weir_training.rundir import RunDirectory
from weir_training.strict import Strict

REPORT: Final = "parity.json"


class PathFigures(Strict):
    """Logits on one way through the graph; `mean_kl` in nats."""

    positions: int
    max_abs: float
    argmax_agreement: float
    mean_kl: float


class FlavourReport(Strict):
    """`through_past`: token by token, all positions. `at_once`: a whole prompt in one run, its last position."""

    parity: Parity
    through_past: PathFigures
    at_once: PathFigures
    golden_greedy_ids: tuple[tuple[int, ...], ...]
    sha256: Sha256


class ParityReport(Strict):
    """`parity.json` of a run. It holds no dates: the same files give the same report."""

    schema_version: Literal[1] = 1
    checkpoint_sha256: Sha256
    rows: int
    answer_tokens: int
    further_prompts: int
    context_tokens: int
    vocab_size: int
    eos_ids: tuple[int, ...]
    golden: tuple[GoldenPrompt, ...]
    flavours: dict[str, FlavourReport]


def read_report(run: RunDirectory) -> ParityReport:
    """Return what the last verify wrote.

    Raises:
        JobError: there is none, or it is of another version.
    """
    try:
        return ParityReport.model_validate_json((run.root / REPORT).read_bytes())
    except FileNotFoundError as error:
        raise JobError(f"{run.root}: not verified yet; run `weir verify` first") from error
    except ValidationError as error:
        raise JobError(f"{run.root / REPORT}: not a report of this version; run `weir verify` again") from error
