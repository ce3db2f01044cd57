"""The sizes a built-in base can be made in."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything that decides what a build yields; recorded in the manifest."""

    name: str
    hidden_size: int
    layer_count: int
    head_count: int
    kv_head_count: int
    intermediate_size: int
    vocab_size: int
    max_context_tokens: int
    dialogue_count: int
    passage_count: int
    batch_tokens: int  # padded tokens per step
    peak_learning_rate: float
    warmup_steps: int
    seed: int = 20


TINY: Final = Profile(
    name="tiny",
    hidden_size=192,
    layer_count=4,
    head_count=6,
    kv_head_count=2,
    intermediate_size=512,
    vocab_size=3584,
    max_context_tokens=1024,
    dialogue_count=90_000,
    passage_count=1_500,
    batch_tokens=1_536,
    peak_learning_rate=2.5e-3,
    warmup_steps=60,
)
CI: Final = Profile(
    name="ci",
    hidden_size=64,
    layer_count=2,
    head_count=2,
    kv_head_count=1,
    intermediate_size=160,
    vocab_size=1024,
    max_context_tokens=512,
    dialogue_count=1_600,
    passage_count=60,
    batch_tokens=768,
    peak_learning_rate=4e-3,
    warmup_steps=20,
)
PROFILES: Final = {profile.name: profile for profile in (CI, TINY)}
