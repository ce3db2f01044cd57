"""The rows and prompts that a release is proven with: chosen by content, so the same data gives the same ones."""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weir.contracts.errors import CheckFailedError
from weir.contracts.manifest import GoldenPrompt
from weir.release.hashing import sha256_text
from weir.release.prompts import load_chat_template
from weir.release.template import ChatTemplate
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.data import Row
from weir_training.parity import TaskRow

if TYPE_CHECKING:
    from weir_training.checkpoint import Checkpoint

MAX_ROWS = 256
MAX_TOKENS = 8192
FURTHER_PROMPTS = 5


def task_rows(rows: Iterable[Row], folder: Path, *, eos_ids: Sequence[int], context_tokens: int) -> list[TaskRow]:
    """Render rows with the release's own tokenizer and template and return a bounded, well-mixed sample.

    At most `MAX_ROWS` rows and about `MAX_TOKENS` tokens; which ones depends on their text alone. Rows without
    an answer that ends, or longer than the context, are left out.

    Raises:
        CheckFailedError: no row is left.
    """
    rendered = rendered_rows(rows, folder, eos_ids=eos_ids)
    fitting = {row.prompt: row for row in rendered if len(row.ids) <= context_tokens}
    if not fitting:
        raise CheckFailedError(f"no row of the data renders to a prompt and an answer within {context_tokens} tokens")
    return bounded(sorted(fitting.values(), key=lambda row: sha256_text(row.prompt)))


def rendered_rows(rows: Iterable[Row], folder: Path, *, eos_ids: Sequence[int]) -> list[TaskRow]:
    """Render all rows with the release's own tokenizer and template, less those without an answer that ends.

    Raises:
        CheckFailedError: the checkpoint has no chat template.
    """
    tokenizer = ReleaseTokenizer(folder / "tokenizer.json")
    template = load_chat_template(folder, tokenizer)
    if template is None:
        raise CheckFailedError(f"{folder.name}: the checkpoint has no chat template")
    found = (_rendered(row, tokenizer, template, frozenset(eos_ids)) for row in rows)
    return [row for row in found if row is not None]


def _rendered(row: Row, tokenizer: ReleaseTokenizer, template: ChatTemplate, eos: frozenset[int]) -> TaskRow | None:
    prompt = template.render(row.question)
    prompt_ids = tokenizer.encode(prompt)
    ids = tokenizer.encode(template.render(row.turns, add_generation_prompt=False))
    answer = ids[len(prompt_ids) :]
    end = next((at for at, token in enumerate(answer) if token in eos), None)
    if end is None or ids[: len(prompt_ids)] != prompt_ids:
        return None
    return TaskRow(prompt, tuple(prompt_ids), tuple(answer[: end + 1]))


def bounded(rows: Sequence[TaskRow]) -> list[TaskRow]:
    """Return the first `MAX_ROWS`, and no more than make about `MAX_TOKENS` tokens."""
    kept: list[TaskRow] = []
    tokens = 0
    for row in rows[:MAX_ROWS]:
        tokens += len(row.ids)
        if kept and tokens > MAX_TOKENS:
            break
        kept.append(row)
    return kept


def pick_prompts(rows: Sequence[TaskRow], count: int) -> list[TaskRow]:
    """Return up to `count` rows, with both a Chinese and another one among them when there are both."""
    chinese = [row for row in rows if _is_chinese(row.prompt)]
    others = [row for row in rows if not _is_chinese(row.prompt)]
    first = [*chinese[:1], *others[:1]]
    return [*first, *(row for row in rows if row not in first)][:count]


def golden_prompts(checkpoint: "Checkpoint", rows: Sequence[TaskRow], count: int) -> list[GoldenPrompt]:
    """Let the checkpoint answer each row's prompt with up to `count` greedy tokens."""
    return [
        GoldenPrompt(
            prompt=row.prompt,
            prompt_ids=row.prompt_ids,
            greedy_ids=until_end(
                checkpoint.greedy(row.prompt_ids, room(row, count, checkpoint.context_tokens)), checkpoint.eos_ids
            ),
        )
        for row in rows
    ]


def room(row: TaskRow, count: int, context_tokens: int) -> int:
    """How many of `count` tokens fit behind the prompt; at least one, as an answer fitted there."""
    return min(count, context_tokens - len(row.prompt_ids))


def until_end(ids: Sequence[int], eos_ids: Sequence[int]) -> tuple[int, ...]:
    """Cut after the first end token: what follows it is never served, and there the model is unsure of itself."""
    end = next((at + 1 for at, token in enumerate(ids) if token in eos_ids), len(ids))
    return tuple(ids[:end])


def _is_chinese(text: str) -> bool:
    return any(unicodedata.name(letter, "").startswith("CJK UNIFIED") for letter in text)
