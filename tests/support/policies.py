"""Guard policies as texts: what the tests of reading them share."""

from pathlib import Path

import pytest

from weir.guard.policy import PolicyError, PolicySet, parse_policy
from weir.guard.rules import Rule

HEAD = "version: 1\nid: p\n"

PACK = """
id: mine
rules:
  - {id: plate, action: redact, terms: [x]}
  - {id: card, action: flag, direction: output, terms: [y]}
  - {id: key, action: block, secret: true, terms: [z]}
"""


def refusal(text: str, folder: Path | None = None) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, folder=folder)
    return "\n".join(caught.value.faults)


def drawn(folder: Path, rest: str) -> PolicySet:
    (folder / "mine.yaml").write_text(PACK, encoding="utf-8")
    return parse_policy(HEAD + rest, folder=folder)


def actions(rules: tuple[Rule, ...]) -> dict[str, str]:
    return {rule.id: rule.action.value for rule in rules}
