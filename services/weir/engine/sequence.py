"""One request as the scheduler sees it: tokens, and the blocks that hold their keys and values."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Sequence:
    """`tokens` is the prompt, then the completion; the first `cached` of them lie in `blocks`.

    Attributes:
        id: ascending in order of arrival.
        room: most tokens it may come to, prompt included.
        priority: higher goes first.
        adapter: -1, or the number of a loaded LoRA adapter.
        salt: only sequences of equal salt and adapter share blocks.
        published: how many of `blocks`, from the first, others may share.
        keys: what `prefix.py` knows its full blocks by; as many as were needed so far.
        scores_prompt: logits after every token of the prompt are wanted, so none is taken from the prefix cache.
        deadline: on the monotonic clock; the engine gives it up then.
        unread: tokens that had to be read when it was started; those of the prefix cache are not among them.
        guesser: what `speculation.py` keeps for it.
    """

    id: int
    tokens: list[int]
    prompt_len: int
    room: int
    priority: int = 0
    adapter: int = -1
    salt: str | None = None
    cached: int = 0
    blocks: list[int] = field(default_factory=list)
    published: int = 0
    keys: list[bytes] = field(default_factory=list)
    scores_prompt: bool = False
    deadline: float | None = None
    unread: int = 0
    guesser: Any = None

    @property
    def pending(self) -> int:
        """Tokens that were not read yet; 1 while it decodes."""
        return len(self.tokens) - self.cached

    @property
    def is_decoding(self) -> bool:
        return self.cached >= self.prompt_len and self.pending == 1

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller is more important: by priority, then by arrival."""
        return (-self.priority, self.id)


def new_sequence(sequence_id: int, prompt: list[int], *, room: int) -> Sequence:
    return Sequence(sequence_id, list(prompt), len(prompt), room)
