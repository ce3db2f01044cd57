"""Which of the trained answers a release brings along for its engine to guess from."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from weir.release.drafts import CONTEXT_TOKENS, Drafts, Question, digest_of
from weir.release.hashing import sha256_text
from weir.release.prompts import load_chat_template
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.data import Row, read_data
from weir_training.golden import rendered_rows
from weir_training.parity import TaskRow
from weir_training.recipe import Recipe

MAX_TOKENS: Final = 150_000  # at most 0.6 MB, however large the vocabulary
MAX_QUESTIONS: Final = 25_000  # 13 bytes each


def trained_drafts(recipe: Recipe, checkpoint: Path, eos_ids: Collection[int]) -> Drafts:
    """Return the recipe's trained answers as `checkpoint` writes them; nothing of held-out rows is among them.

    Where there are too many, a sample that depends on the texts alone.
    """
    rows = sorted(read_data(recipe.data).train, key=_order)[:MAX_QUESTIONS]
    rendered = list(rendered_rows(rows, checkpoint, eos_ids=tuple(eos_ids)))
    kept = rendered[: _count_within(MAX_TOKENS, rendered)]
    numbers = {answer: number for number, answer in enumerate(dict.fromkeys(row.answer_ids for row in kept))}
    shared = _shared([row.prompt_ids for row in kept])
    questions = (_question(row, shared, numbers[row.answer_ids]) for row in kept)
    return Drafts(_opening(rows, checkpoint), tuple(numbers), tuple(dict.fromkeys(questions)))


def _order(row: Row) -> str:
    return sha256_text("\0".join(turn.content for turn in row.turns))


def _count_within(most: int, rows: Sequence[TaskRow]) -> int:
    """How many rows bring at most so many tokens of distinct answers."""
    seen: set[tuple[int, ...]] = set()
    tokens = 0
    for count, row in enumerate(rows):
        tokens += 0 if row.answer_ids in seen else len(row.answer_ids)
        if tokens > most:
            return count
        seen.add(row.answer_ids)
    return len(rows)


def _shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts begin with; of those that sort first and last, all do. 0 for a single one."""
    first, last = min(prompts, default=()), max(prompts, default=())
    return next((count for count, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)


def _question(row: TaskRow, shared: int, answer: int) -> Question:
    """Without what all prompts begin with: a server may put other words there."""
    own = row.prompt_ids[shared:][-CONTEXT_TOKENS:]
    return Question(digest_of(own), len(own), answer)


def _opening(rows: Sequence[Row], checkpoint: Path) -> tuple[int, ...]:
    """What the template adds to a conversation for the assistant to speak next, in tokens."""
    tokenizer = ReleaseTokenizer(checkpoint / "tokenizer.json")
    template = load_chat_template(checkpoint, tokenizer)
    if template is None or not rows:
        return ()
    said = tokenizer.encode(template.render(rows[0].question, add_generation_prompt=False))
    prompt = tokenizer.encode(template.render(rows[0].question))
    return tuple(prompt[len(said) :][-CONTEXT_TOKENS:]) if prompt[: len(said)] == said else ()
