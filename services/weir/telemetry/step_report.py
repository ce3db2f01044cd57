"""What an engine tells about one step."""

from dataclasses import dataclass
from typing import Literal

Stage = Literal["prefill", "decode", "mixed"]


@dataclass(frozen=True, slots=True)
class StepReport:
    """One run of the model.

    Attributes:
        stage: `mixed` when streams decoded while prompts were read.
        decoded: streams that decoded.
        read: tokens of prompts that were read; after a preemption some are read again.
        generated: new tokens.
        seconds: how long the model ran.
        preempted: sequences that had to give their blocks back before it.
        prefix_queried: tokens of the sequences that started.
        prefix_hit: tokens that the prefix cache spared.
        drafted: guessed tokens that were verified.
        accepted: of those, how many came true.
    """

    stage: Stage
    decoded: int
    read: int
    generated: int
    seconds: float
    preempted: int = 0
    prefix_queried: int = 0
    prefix_hit: int = 0
    drafted: int = 0
    accepted: int = 0
