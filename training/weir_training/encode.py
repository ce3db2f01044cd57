"""Rows as token ids with a mask of the tokens that are learnt; the template that says which those are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weir.contracts.errors import CheckFailedError, UsageError
from weir.release.prompts import read_chat_template
from weir_training.data import Row
from weir_training.recipe import Recipe

IGNORED = -100

# For templates that are plain ChatML without marks. Used only where it renders every row exactly as the model's own.
_CHATML_TRAINING = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- '<|im_start|>assistant\n' -}}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>\n' -}}{%- endgeneration -%}"
    "{%- else -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as the model is trained on it. `prompt_ids` is what it is asked at serving time."""

    row: Row
    ids: list[int]
    supervised: list[bool]
    prompt_ids: list[int]

    @property
    def labels(self) -> list[int]:
        """Token ids, and -100 where nothing is learnt."""
        return [token if learnt else IGNORED for token, learnt in zip(self.ids, self.supervised, strict=True)]


@dataclass(frozen=True, slots=True)
class Templates:
    """`own` is what the model is served with; `training` renders the same text and marks the assistant's words."""

    own: str
    training: str
    origin: str


def load_tokenizer(base: Path) -> Any:
    """Return the fast tokenizer of a checkpoint folder.

    Raises:
        CheckFailedError: it cannot be loaded without running code of its own, or it has no end or pad token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CheckFailedError(f"{base.name}: the tokenizer cannot be loaded ({error})") from error
    if not tokenizer.is_fast:
        raise CheckFailedError(f"{base.name}: no fast tokenizer (tokenizer.json); which tokens to learn is not known")
    if tokenizer.eos_token_id is None:
        raise CheckFailedError(f"{base.name}: the tokenizer names no eos_token; the model could never learn to stop")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # harmless here: labels come from the mask, not from pad ids
    return tokenizer


def find_templates(recipe: Recipe, base: Path, tokenizer: Any, rows: Sequence[Row]) -> Templates:
    """Return the template to serve with and the one to train with.

    Raises:
        CheckFailedError: there is none, or none that says which tokens are the assistant's.
    """
    own = _own_template(recipe, base)
    if has_marks(own):
        return Templates(own, own, "the model's own")
    tokenizer.chat_template = own
    known = _known_training_template(tokenizer)
    if known is not None:
        return Templates(own, known, "TRL's training form of the model's own")
    if all(_renders_alike(tokenizer, row, _CHATML_TRAINING, own) for row in rows):
        return Templates(own, _CHATML_TRAINING, "ChatML with marks, the same text as the model's own")
    raise CheckFailedError(
        "the chat template does not mark the assistant's words ({% generation %} ... {% endgeneration %}), and it is "
        "none of the known ones: set model.chat_template to a .jinja file that does"
    )


def has_marks(template: str) -> bool:
    """Whether the template has `{% generation %}` in any of its spellings."""
    from weir.release.template import serving_template

    return serving_template(template) != template


def encode(rows: Sequence[Row], tokenizer: Any, template: str) -> list[Encoded]:
    """Tokenise; the order is kept.

    Raises:
        CheckFailedError: the template refuses a row, e.g. one with a system turn.
    """
    return [_encoded(row, tokenizer, template) for row in rows]


def prompt_of(row: Row, tokenizer: Any, template: str) -> str:
    """Return the text that a server would ask the model with for this row's question."""
    messages = row.messages()[:-1]
    text: str = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    return text


def _encoded(row: Row, tokenizer: Any, template: str) -> Encoded:
    from jinja2 import TemplateError

    try:
        whole = tokenizer.apply_chat_template(
            row.messages(), chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        prompt = tokenizer(prompt_of(row, tokenizer, template), add_special_tokens=False)["input_ids"]
    except (TemplateError, OverflowError) as error:  # the latter: marks around nothing at the very start
        raise CheckFailedError(f"{row.place}: the chat template fails on this row: {error}") from error
    supervised = [bool(bit) for bit in whole["assistant_masks"]]
    return Encoded(row, list(whole["input_ids"]), supervised, list(prompt))


def _own_template(recipe: Recipe, base: Path) -> str:
    name = recipe.model.chat_template
    if name != "keep":
        try:
            return Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"model.chat_template: {name}: cannot be read ({error})") from error
    template = read_chat_template(base)
    if template is None:
        raise CheckFailedError(
            f"{recipe.model.base}: no chat template (chat_template.jinja); set model.chat_template to a .jinja file"
        )
    return template


def _known_training_template(tokenizer: Any) -> str | None:
    from trl.chat_template_utils import get_training_chat_template

    try:
        found: str | None = get_training_chat_template(tokenizer)
    except Exception:  # noqa: BLE001 — it renders the template with probes of its own, which may fail in any way
        return None
    return found


def _renders_alike(tokenizer: Any, row: Row, one: str, other: str) -> bool:
    from jinja2 import TemplateError

    def text(template: str) -> Any:
        return tokenizer.apply_chat_template(row.messages(), chat_template=template, tokenize=False)

    try:
        return bool(text(one) == text(other)) and prompt_of(row, tokenizer, one) == prompt_of(row, tokenizer, other)
    except TemplateError:
        return False
