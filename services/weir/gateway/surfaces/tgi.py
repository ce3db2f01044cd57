"""TGI's routes: `/`, `/generate`, `/generate_stream`."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from pydantic import BaseModel

from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, FinishReason, Token, TokenChunk
from weir.contracts.request import GenerateRequest
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.streams import Collected
from weir.gateway.surfaces.base import JSON_HEADERS, STREAM_HEADERS, Headers, Reply
from weir.gateway.surfaces.merit import best_first
from weir.gateway.surfaces.tgi_answer import (
    compute_headers,
    details_json,
    reason_json,
    timing_headers,
    token_json,
    top_json,
)
from weir.gateway.surfaces.tgi_errors import error_event, error_reply
from weir.gateway.surfaces.tgi_wire import TgiBody, TgiParameters, adapter_of, check, new_seed, parsed, sampling_of


@dataclass(frozen=True, slots=True)
class TgiSurface:
    """`streams`: always answers with a stream. `in_array`: a whole answer is an array of one object (`POST /`)."""

    path: str
    streams: bool = False
    in_array: bool = False

    @property
    def body_model(self) -> type[BaseModel]:
        return TgiBody

    @property
    def summary(self) -> str:
        return "Generate text as server-sent events (TGI)" if self.streams else "Generate text (TGI)"

    def parse(self, body: bytes, context: RequestContext) -> "TgiJob":
        read = parsed(body)
        is_stream = self.streams or bool(read.stream)
        check(read, is_stream=is_stream)
        asks = asks_of(read, self.path, context, with_tokens=is_stream)
        return TgiJob(asks, read.given, is_stream, self.in_array)

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        return error_event(error)


def asks_of(body: TgiBody, route: str, context: RequestContext, *, with_tokens: bool) -> tuple[Ask, ...]:
    """Return what is to be generated: one answer, or `best_of` with different seeds."""
    given = body.given
    request = GenerateRequest.trusted(
        id=context.id,
        prompt=body.inputs,
        sampling=sampling_of(given),
        return_tokens=with_tokens or given.wants_details or (given.best_of or 1) > 1,
        adapter=adapter_of(given),
    )
    first = Ask(request, route, context, given.truncate, is_seed_drawn=given.seed is None)
    if given.best_of is None:
        return (first,)
    return (first, *(_with_another_seed(first) for _ in range((given.best_of or 1) - 1)))


def _with_another_seed(ask: Ask) -> Ask:
    sampling = ask.request.sampling.model_copy(update={"seed": new_seed()})
    return replace(ask, request=ask.request.model_copy(update={"sampling": sampling}))


@dataclass(frozen=True, slots=True)
class TgiJob:
    """One parsed request."""

    asks: tuple[Ask, ...]
    given: TgiParameters
    is_stream: bool
    in_array: bool

    def whole(self, generations: Sequence[Generation], answers: Sequence[Collected]) -> Reply:
        best, *others = best_first(answers) if len(answers) > 1 else [0]
        body: dict[str, Any] = {"generated_text": self._full_text(generations[best], answers[best].text)}
        if self.given.wants_details:
            body["details"] = self._details(generations[best], answers[best])
            if others:
                body["details"]["best_of_sequences"] = [
                    {"generated_text": self._full_text(generations[other], answers[other].text)}
                    | self._details(generations[other], answers[other])
                    for other in others
                ]
        headers = JSON_HEADERS + compute_headers(generations[best]) + timing_headers(generations[best], answers)
        if answers[best].finished.reason is FinishReason.FILTERED:
            headers.append((b"x-weir-finish-reason", FinishReason.FILTERED.value.encode()))
        return Reply(200, headers, orjson.dumps([body] if self.in_array else body))

    def stream_headers(self, generations: Sequence[Generation]) -> Headers:
        return STREAM_HEADERS + compute_headers(generations[0])

    async def frames(self, generations: Sequence[Generation]) -> AsyncGenerator[bytes, None]:
        """Yield TGI's events: one per token, the last one with the whole text.

        TGI's last token event is also the end, which a node may tell only later. A token that can be the last one (the
        token limit is reached, or it is special) waits for that; else a special token without text ends the stream.
        """
        (generation,) = generations
        texts: list[str] = []
        index = 0
        waiting: Token | None = None
        async for event in generation.events:
            if isinstance(event, Finished):
                last = waiting or Token(generation.model.eos_id, "", 0.0, special=True)
                yield self._last_frame(index + 1, last, "".join(texts), event, generation)
                return
            frames: list[bytes] = []
            for token in _tokens_of(event):
                if waiting is not None:
                    index += 1
                    frames.append(_frame(index, waiting, generation))
                waiting = token
                if not (token.special or index + 1 >= generation.max_new_tokens):
                    index += 1
                    frames.append(_frame(index, token, generation))
                    waiting = None
            texts.append(event.text)
            if frames:
                yield b"".join(frames)

    def _last_frame(self, index: int, token: Token, text: str, finished: Finished, generation: Generation) -> bytes:
        details = None
        if self.given.details:
            details = reason_json(finished) | {
                "generated_tokens": finished.usage.completion_tokens,
                "seed": generation.ask.request.sampling.seed,
                "input_length": finished.usage.prompt_tokens,
            }
        event: dict[str, Any] = {"index": index, "token": token_json(token)}
        if token.top:
            event["top_tokens"] = top_json(token, generation.model.prompts.tokenizer.special_ids)
        event |= {"generated_text": self._full_text(generation, text), "details": details}
        if finished.reason is FinishReason.FILTERED:
            event["weir_finish_reason"] = FinishReason.FILTERED
        return b"data:%b\n\n" % orjson.dumps(event)

    def _details(self, generation: Generation, answer: Collected) -> dict[str, Any]:
        return details_json(generation, answer, with_top=bool(self.given.top_n_tokens))

    def _full_text(self, generation: Generation, text: str) -> str:
        return generation.prompt + text if self.given.return_full_text else text


def _frame(index: int, token: Token, generation: Generation) -> bytes:
    body = orjson.dumps(token_json(token))
    if not token.top:
        return b'data:{"index":%d,"token":%b,"generated_text":null,"details":null}\n\n' % (index, body)
    top = orjson.dumps(top_json(token, generation.model.prompts.tokenizer.special_ids))
    form = b'data:{"index":%d,"token":%b,"top_tokens":%b,"generated_text":null,"details":null}\n\n'
    return form % (index, body, top)


def _tokens_of(chunk: TokenChunk) -> tuple[Token, ...]:
    return chunk.tokens or (Token(0, chunk.text, 0.0),)
