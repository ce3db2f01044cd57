"""One request as the scheduler sees it: token counts and a slot."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Sequence:
    """`tokens` is the prompt, then the completion; the first `cached` of them lie in `slot` of the KV buffers.

    While it decodes, `cached == len(tokens) - 1`: the newest token is what the next step reads.
    """

    id: int
    tokens: list[int]
    prompt_len: int
    cached: int = 0
    slot: int = -1


def new_sequence(sequence_id: int, prompt: list[int]) -> Sequence:
    return Sequence(sequence_id, list(prompt), len(prompt))
