"""A node process without a model: the prompt says what it does. For what a real model cannot be made to do.

    python -m tests.support.scripted_node --port 9000

A prompt that holds `play:` and a JSON object is a script (`Script`); any other one is answered with `ok`. It is the
same `OipNode` that the contract tests of the HTTP backend run against, next to the real node.
"""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field

from tests.support.oip_node import CUT, OipNode
from weir.contracts.errors import BackendError, BackendUnavailableError, OverloadedError
from weir.contracts.events import Finished, FinishReason, Token, TokenChunk, Usage
from weir.contracts.request import GenerateRequest

MARK = "play:"
_PROMPT_TOKENS = 7
_FAILURES: dict[str, Callable[[], Any]] = {
    "overloaded": lambda: OverloadedError(1.0),
    "unavailable": lambda: BackendUnavailableError("scripted: going away"),
    "failed": lambda: BackendError("scripted: failed"),
    "cut": lambda: CUT,
    "silence": lambda: 3600.0,
}


class Script(BaseModel):
    """Say `texts`, one token each, `pace_s` apart, `times` over; then end because of `reason`, or fail.

    `fails` is a failure's name: after the texts, or `at_once` before them. With `only_first`, only so many requests
    with this `key` fail; the later ones are answered.
    """

    model_config = ConfigDict(extra="forbid")

    texts: tuple[str, ...] = ("ok",)
    times: int = Field(default=1, ge=0, le=100_000)
    pace_s: float = 0.0
    reason: FinishReason = FinishReason.EOS
    fails: str | None = None
    at_once: bool = False
    only_first: int | None = None
    key: str = ""


class Player:
    """Turns prompts into what `OipNode` plays; remembers how often each key failed."""

    def __init__(self) -> None:
        self._failed: Counter[str] = Counter()

    def __call__(self, request: GenerateRequest) -> Sequence[Any]:
        script = read_script(request.prompt)
        limit = request.sampling.max_new_tokens or 1
        texts = (script.texts * script.times)[:limit]
        is_cut_short = limit < len(script.texts) * script.times
        failure = self._failure(script)
        if failure is not None and script.at_once:
            return [failure]
        steps: list[Any] = []
        for number, text in enumerate(texts):
            steps += [script.pace_s] * (number > 0 and script.pace_s > 0)
            steps.append(_chunk(number, text))
        if failure is not None:
            return [*steps, failure]
        reason = FinishReason.LENGTH if is_cut_short else script.reason
        return [*steps, Finished(reason, Usage(_PROMPT_TOKENS, len(texts)))]

    def _failure(self, script: Script) -> Any:
        if script.fails is None:
            return None
        self._failed[script.key] += 1
        if script.only_first is not None and self._failed[script.key] > script.only_first:
            return None
        return _FAILURES[script.fails]()


def read_script(prompt: str) -> Script:
    _, found, rest = prompt.partition(MARK)
    return Script.model_validate(json.JSONDecoder().raw_decode(rest)[0]) if found else Script()


def _chunk(number: int, text: str) -> TokenChunk:
    return TokenChunk(text, 1, (Token(10 + number, text, -0.5),))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    config = uvicorn.Config(OipNode(Player()), port=port, log_level="warning", timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
