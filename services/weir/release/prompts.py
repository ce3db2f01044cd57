"""From a request's messages or raw text to the prompt that the model reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weir.contracts.manifest import ReleaseManifest
from weir.contracts.request import Message, Tool
from weir.release.reader import read_manifest
from weir.release.template import ChatTemplate
from weir.release.tokenizer import ReleaseTokenizer
from weir.release.tool_format import ToolFormat

_BYTES_PER_TOKEN = 4  # of what tokenizers make of prose, English or Chinese
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True)
class PromptBuilder:
    """Knows one release's tokenizer and template."""

    manifest: ReleaseManifest
    tokenizer: ReleaseTokenizer
    template: ChatTemplate | None

    @property
    def tool_format(self) -> ToolFormat | None:
        """How the model writes tool calls; none: its template has no place for tools."""
        return None if self.template is None else self.template.tool_format

    def from_messages(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        if self.template is None:
            return "\n".join(m.content for m in messages)
        if len(messages) == 1 and not tools and messages[0].is_plain_user:
            return self.template.render_user(messages[0].content)
        return self.template.render(messages, tools=tools)

    def from_text(self, text: str) -> str:
        """Wrap raw text as one user turn when the release says so; text already in the template's form passes."""
        if self.manifest.prompt_mode == "raw" or self.template is None:
            return text
        if any(map(text.__contains__, self.tokenizer.control_tokens)):
            return text
        return self.template.render_user(text)

    def count(self, prompt: str) -> int:
        return len(self.tokenizer.encode(prompt))

    def size(self, prompt: str, within: int) -> tuple[int, bool]:
        """Return how many tokens `prompt` has and whether that is exact.

        It is a guess when the prompt fits into `within` tokens even at one a byte: then nothing hangs on it, and
        reading a prompt costs a gateway more than all the rest. A node that finds otherwise refuses.
        """
        size = len(prompt) if prompt.isascii() else len(prompt.encode())
        if size <= within:
            return -(-size // _BYTES_PER_TOKEN), False
        return self.count(prompt), True


def load_prompt_builder(root: Path) -> PromptBuilder:
    """Read tokenizer and template of the release at `root`; its files must have been checked by `open_release`."""
    manifest = read_manifest(root)
    tokenizer = ReleaseTokenizer(root / "model" / "tokenizer.json")
    return PromptBuilder(manifest, tokenizer, load_chat_template(root / "model", tokenizer))


def load_chat_template(checkpoint: Path, tokenizer: ReleaseTokenizer) -> ChatTemplate | None:
    """Return the compiled template of a checkpoint folder, None when it has none."""
    source = read_chat_template(checkpoint)
    if source is None:
        return None
    return ChatTemplate(source, tokenizer.control_tokens, special_tokens=read_special_tokens(checkpoint))


def read_special_tokens(checkpoint: Path) -> dict[str, str]:
    """Return what templates may name, e.g. `bos_token`, from tokenizer_config.json (plain or as an added token)."""
    config = checkpoint / "tokenizer_config.json"
    if not config.is_file():
        return {}
    tree = json.loads(config.read_text(encoding="utf-8"))
    named = {key: tree.get(key) for key in _SPECIAL_TOKENS}
    plain = {key: value.get("content") if isinstance(value, dict) else value for key, value in named.items()}
    return {key: value for key, value in plain.items() if isinstance(value, str)}


def read_chat_template(checkpoint: Path) -> str | None:
    """Return the template of a checkpoint folder: `chat_template.jinja`, else the field of tokenizer_config.json."""
    jinja = checkpoint / "chat_template.jinja"
    if jinja.is_file():
        return jinja.read_text(encoding="utf-8")
    config = checkpoint / "tokenizer_config.json"
    if not config.is_file():
        return None
    template = json.loads(config.read_text(encoding="utf-8")).get("chat_template")
    return template if isinstance(template, str) else None
