"""OpenAI's older completions: `/v1/completions`. A prompt is what the model reads: no template is put around it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field

from weir.contracts.errors import ValidationError, WeirError
from weir.contracts.events import Finished, PromptToken, Token, TokenChunk, Usage
from weir.contracts.request import GenerateRequest
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.refusals import UnsupportedError
from weir.gateway.streams import Collected, merged
from weir.gateway.surfaces.base import JSON_HEADERS, STREAM_HEADERS, Headers, Reply
from weir.gateway.surfaces.limits import MAX_ANSWERS
from weir.gateway.surfaces.merit import best_first
from weir.gateway.surfaces.openai_absent import COMPLETIONS, decoded_asked
from weir.gateway.surfaces.openai_errors import error_event, error_reply
from weir.gateway.surfaces.openai_frames import DONE, REASONS, Frames, usage_of
from weir.gateway.surfaces.openai_logprobs import completion_logprobs
from weir.gateway.surfaces.openai_wire import (
    Asked,
    ResponseFormat,
    choices_of,
    grammar_of,
    model_and_adapter,
    sampling_of,
)

_MAX_GENERATIONS = 64  # prompts × answers each
_DEFAULT_MAX_TOKENS = 16  # OpenAI's

TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=131_072)]


class CompletionBody(Asked):
    """Every field but `prompt` may be null or left out. `max_tokens` is 16 then, as with OpenAI; 0 needs `echo`."""

    prompt: str | list[str] | TokenIds | list[TokenIds]
    best_of: int | None = Field(default=None, ge=1, le=MAX_ANSWERS)
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)
    suffix: str | None = None
    response_format: ResponseFormat | None = None

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        prompt: Any = self.prompt
        is_one = isinstance(prompt, str) or isinstance(prompt[0] if prompt else None, int)
        return [prompt] if is_one else prompt


@dataclass(frozen=True, slots=True)
class CompletionSurface:
    path: str = "/v1/completions"

    @property
    def body_model(self) -> type[BaseModel]:
        return CompletionBody

    @property
    def summary(self) -> str:
        return "Text completion of one or more prompts, whole or as server-sent events (OpenAI)"

    def parse(self, body: bytes, context: RequestContext) -> "CompletionJob":
        parsed = decoded_asked(CompletionBody, body, COMPLETIONS)
        count = parsed.n or 1
        tries = parsed.best_of or count
        _check(parsed, count, tries)
        asks = tuple(
            Ask(choice, self.path, context, is_raw=True)
            for request in _requests(parsed, context)
            for choice in choices_of(request, tries)
        )
        return CompletionJob(asks, parsed, count, tries, int(datetime.now(UTC).timestamp()))

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        return error_event(error)


def _check(body: CompletionBody, count: int, tries: int) -> None:
    if body.suffix:
        raise UnsupportedError("suffix")
    if tries < count:
        raise ValidationError("`best_of`: not less than `n`", "best_of")
    if tries > count and body.stream:
        raise ValidationError("`best_of`: an answer that is streamed cannot be chosen afterwards", "best_of")
    if body.max_tokens == 0 and not body.echo:
        raise ValidationError("`max_tokens`: 0 needs `echo`", "max_tokens")
    prompts = body.prompts
    if not prompts or not all(prompts):
        raise ValidationError("`prompt` cannot be empty", "prompt")
    if len(prompts) * tries > _MAX_GENERATIONS:
        raise ValidationError(f"`prompt`: at most {_MAX_GENERATIONS} answers to all prompts together", "prompt")


def _requests(body: CompletionBody, context: RequestContext) -> list[GenerateRequest]:
    """Return one request per prompt."""
    wanted = _DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    sampling = sampling_of(
        body,
        max_new_tokens=wanted or 1,  # for the prompt's log-probabilities alone, one token is generated and not shown
        logprobs=body.logprobs,
        prompt_logprobs=body.logprobs if body.echo else None,
        grammar=grammar_of(body, body.response_format),
    )
    common: dict[str, Any] = {
        "sampling": sampling,
        "return_tokens": body.logprobs is not None or (body.best_of or 1) > (body.n or 1),
        **model_and_adapter(body.model),
    }
    prompts = body.prompts
    return [
        GenerateRequest(
            id=context.id if number == 0 else f"{context.id[:116]}-p{number}",
            **({"prompt": prompt} if isinstance(prompt, str) else {"prompt_ids": tuple(prompt)}),
            **common,
        )
        for number, prompt in enumerate(prompts)
    ]


@dataclass(frozen=True, slots=True)
class CompletionJob:
    """One parsed request: `tries` answers to each prompt, of which `count` are given; `created` in s since 1970."""

    asks: tuple[Ask, ...]
    body: CompletionBody
    count: int
    tries: int
    created: int

    @property
    def is_stream(self) -> bool:
        return bool(self.body.stream)

    @property
    def _shows_answer(self) -> bool:
        return self.body.max_tokens != 0

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply:
        choices: list[dict[str, Any]] = []
        for first in range(0, len(answers), self.tries):
            found = answers[first : first + self.tries]
            best = best_first(found) if self.tries > self.count else range(self.count)
            start = len(choices)
            choices += [
                self._choice(start + place, generations[first], found[number])
                for place, number in enumerate(best[: self.count])
            ]
        body = self._envelope(generations[0]) | {
            "choices": choices,
            "usage": self._usage([a.finished for a in answers]),
        }
        return Reply(200, JSON_HEADERS, orjson.dumps(body))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:  # noqa: ARG002 - the same for every answer
        return STREAM_HEADERS

    async def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        """Yield the texts as they come, each choice's reason, the usage if asked for, and `[DONE]`."""
        frames = Frames(self._envelope(generations[0]), delta=b"text", with_usage=self.body.with_usage)
        ends: list[Finished | None] = [None] * len(generations)
        written: list[int | None] = [None] * len(generations)  # characters so far; none: nothing yet
        async for index, event in merged([generation.events for generation in generations]):
            begun = b""
            if written[index] is None:
                begun, written[index] = self._echoed(frames, index, generations[index], event)
            if isinstance(event, Finished):
                ends[index] = event
                yield begun + frames.end(index, b'""', REASONS[event.reason])
                continue
            if self._shows_answer and (event.text or event.tokens):
                logprobs = self._logprobs(event.tokens, written[index] or 0)
                begun += frames.chunk(index, orjson.dumps(event.text), logprobs)
                written[index] = (written[index] or 0) + len(event.text)
            if begun:
                yield begun
        usage = self._usage([end for end in ends if end is not None])
        yield frames.usage(usage) + DONE if self.body.with_usage else DONE

    def _echoed(
        self, frames: Frames, index: int, generation: Generation, event: TokenChunk | Finished
    ) -> tuple[bytes, int]:
        """Return the frame that echoes the prompt, and its length in characters."""
        if not self.body.echo:
            return b"", 0
        prompt = generation.prompt
        tokens = event.prompt if isinstance(event, TokenChunk) else ()
        logprobs = None
        if self.body.logprobs is not None:
            logprobs = completion_logprobs(tokens, _prompt_starts(generation, prompt, tokens))
        return frames.chunk(index, orjson.dumps(prompt), logprobs), len(prompt)

    def _choice(self, number: int, generation: Generation, answer: Collected) -> dict[str, Any]:
        prompt = generation.prompt if self.body.echo else ""
        text, tokens = (answer.text, answer.tokens) if self._shows_answer else ("", [])
        logprobs = None
        if self.body.logprobs is not None:
            starts = _prompt_starts(generation, prompt, answer.prompt) + _starts(tokens, len(prompt))
            logprobs = completion_logprobs([*answer.prompt, *tokens], starts)
        return {
            "index": number,
            "text": prompt + text,
            "logprobs": logprobs,
            "finish_reason": REASONS[answer.finished.reason],
        }

    def _logprobs(self, tokens: Sequence[Token], start: int) -> dict[str, Any] | None:
        return None if self.body.logprobs is None else completion_logprobs(tokens, _starts(tokens, start))

    def _usage(self, ends: Sequence[Finished]) -> dict[str, int]:
        usages = [end.usage for end in ends]
        shown = usages if self._shows_answer else [Usage(usage.prompt_tokens, 0) for usage in usages]
        return usage_of(usages[:: self.tries], shown)

    def _envelope(self, generation: Generation) -> dict[str, Any]:
        return {
            "id": f"cmpl-{self.asks[0].request.id}",
            "object": "text_completion",
            "created": self.created,
            "model": generation.model_label,
            "system_fingerprint": f"{generation.model.name}-{generation.model.version}",
        }


def _prompt_starts(generation: Generation, prompt: str, tokens: Sequence[PromptToken]) -> list[int]:
    """Return where the prompt's tokens begin. Parts of characters have no length of their own, so the text is asked."""
    if not tokens:
        return []
    starts = [start for _, start, _ in generation.model.prompts.tokenizer.spans(prompt)]
    return starts if len(starts) == len(tokens) else _starts(tokens, 0, most=len(prompt))


def _starts(tokens: Sequence[Token | PromptToken], start: int, *, most: int | None = None) -> list[int]:
    """Return where tokens begin whose texts follow each other from `start` on."""
    starts = []
    for token in tokens:
        starts.append(start if most is None else min(start, most))
        start += 0 if isinstance(token, Token) and token.special else len(token.text)
    return starts
