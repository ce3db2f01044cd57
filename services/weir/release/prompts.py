"""From a request's messages or raw text to the prompt that the model reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weir.contracts.manifest import ReleaseManifest
from weir.contracts.request import Message
from weir.release.reader import read_manifest
from weir.release.template import ChatTemplate
from weir.release.tokenizer import ReleaseTokenizer


@dataclass(frozen=True, slots=True)
class PromptBuilder:
    """Knows one release's tokenizer and template."""

    manifest: ReleaseManifest
    tokenizer: ReleaseTokenizer
    template: ChatTemplate | None

    def from_messages(self, messages: Sequence[Message]) -> str:
        if self.template is None:
            return "\n".join(m.content for m in messages)
        return self.template.render(messages)

    def from_text(self, text: str) -> str:
        """Wrap raw text as one user turn when the release says so; text already in the template's form passes."""
        if self.manifest.prompt_mode == "raw" or self.template is None:
            return text
        if any(token in text for token in self.tokenizer.control_tokens):
            return text
        return self.template.render([Message(role="user", content=text)])

    def count(self, prompt: str) -> int:
        return len(self.tokenizer.encode(prompt))


def load_prompt_builder(root: Path) -> PromptBuilder:
    """Read tokenizer and template of the release at `root`; its files must have been checked by `open_release`."""
    manifest = read_manifest(root)
    tokenizer = ReleaseTokenizer(root / "model" / "tokenizer.json")
    source = read_chat_template(root / "model")
    template = None if source is None else ChatTemplate(source, tokenizer.control_tokens)
    return PromptBuilder(manifest, tokenizer, template)


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
