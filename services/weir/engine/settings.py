"""How an engine may use its machine."""

from dataclasses import dataclass
from typing import Literal

FIXED_CHUNK_TOKENS = 64


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Bounds of one engine; `load_engine` turns them into a model and its blocks.

    Attributes:
        threads: 0: one for each physical core that this process may use.
        prefill_chunk_tokens: most prompt tokens read in one step. While streams decode, fewer: as many as keep the
            step short. A model whose answers depend on how a prompt is cut reads `fixed_chunk_tokens` at a time.
        max_draft_tokens: most tokens guessed ahead for one stream, where the model allows; 0: none.
        device: where to run; `auto`: what the flavour is made for. `cpu` runs a CUDA flavour on the CPU, to check it.
        prefix_cache: whether prompts that begin alike share what was read, where the model allows.
    """

    threads: int = 0
    max_running: int = 16
    max_waiting: int = 64
    prefill_chunk_tokens: int = 512
    kv_budget_bytes: int = 2 << 30
    max_context_tokens: int | None = None
    max_draft_tokens: int = 32
    prefix_cache: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    check_golden: bool = True

    @property
    def fixed_chunk_tokens(self) -> int:
        return min(self.prefill_chunk_tokens, FIXED_CHUNK_TOKENS)
