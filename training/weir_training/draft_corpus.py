"""Which of the trained answers a release brings along for its engine to guess from."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from weir.release.drafts import CONTEXT_TOKENS, Example
from weir.release.hashing import sha256_text
from weir_training.data import Row, read_data
from weir_training.golden import rendered_rows
from weir_training.recipe import Recipe

MAX_TOKENS: Final = 200_000  # below 1 MB, however large the vocabulary


def draft_examples(recipe: Recipe, checkpoint: Path, eos_ids: Collection[int]) -> list[Example]:
    """Return the recipe's training rows as `checkpoint` reads and writes them; held-out rows are never among them.

    Of more than `MAX_TOKENS` tokens a sample that depends on the texts alone.
    """
    rows = sorted(read_data(recipe.data).train, key=_order)
    return list(_within(MAX_TOKENS, _distinct(rows, checkpoint, eos_ids)))


def _order(row: Row) -> str:
    return sha256_text("\0".join(turn.content for turn in row.turns))


def _distinct(rows: list[Row], checkpoint: Path, eos_ids: Collection[int]) -> Iterator[Example]:
    seen: set[Example] = set()
    for row in rendered_rows(rows, checkpoint, eos_ids=tuple(eos_ids)):
        example = Example(row.prompt_ids[-CONTEXT_TOKENS:], row.answer_ids)
        if example not in seen:
            seen.add(example)
            yield example


def _within(most: int, examples: Iterator[Example]) -> Iterator[Example]:
    tokens = 0
    for example in examples:
        tokens += len(example.question) + len(example.answer)
        if tokens > most:
            return
        yield example
