"""TGI's `/tokenize` and `/chat_tokenize`: the tokens of a text, without any generation."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel

from weir.contracts.errors import WeirError
from weir.contracts.request import GenerateRequest
from weir.gateway.catalog import ServedModel
from weir.gateway.generation import RequestContext
from weir.gateway.preparation import check_tools, rendered
from weir.gateway.service import GenerationService
from weir.gateway.surfaces.base import JSON_HEADERS, Direct, Reply, decoded
from weir.gateway.surfaces.openai_chat_wire import ChatBody, messages_of, tool_use_of
from weir.gateway.surfaces.tgi_errors import error_event, error_reply
from weir.gateway.surfaces.tgi_wire import TgiBody, check

_INLINE_CHARS = 16_384  # longer texts are tokenised in a thread


@dataclass(frozen=True, slots=True)
class TokenizeSurface:
    """The tokens of `inputs` as it stands: no template, no `truncate`. Input rules apply as they do to a generation."""

    path: str = "/tokenize"

    @property
    def body_model(self) -> type[BaseModel]:
        return TgiBody

    @property
    def summary(self) -> str:
        return "The tokens of a text (TGI)"

    def parse(self, body: bytes, context: RequestContext) -> Direct:
        parsed = decoded(TgiBody, body)
        check(parsed, is_stream=False)
        request = GenerateRequest(id=context.id, prompt=parsed.inputs)

        def tokens(service: GenerationService) -> list[dict[str, Any]]:
            model = service.catalog.resolve(None)
            return _tokens(model, service.passed(request, self.path, context.caller).prompt)

        return Direct(context, _in_its_place(tokens, len(parsed.inputs)))

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        return error_event(error)


@dataclass(frozen=True, slots=True)
class ChatTokenizeSurface:
    """The tokens of messages, tools among them, in the template of the model."""

    path: str = "/chat_tokenize"

    @property
    def body_model(self) -> type[BaseModel]:
        return ChatBody

    @property
    def summary(self) -> str:
        return "Messages in the model's template, and their tokens (TGI)"

    def parse(self, body: bytes, context: RequestContext) -> Direct:
        parsed = decoded(ChatBody, body)
        use = tool_use_of(parsed)
        request = GenerateRequest(id=context.id, model=parsed.model, messages=messages_of(parsed), tool_use=use)

        def tokens(service: GenerationService) -> dict[str, Any]:
            model = service.catalog.resolve(request.model)
            check_tools(model, request)
            prompt = rendered(model, service.passed(request, self.path, context.caller))
            return {"tokenize_response": _tokens(model, prompt), "templated_text": prompt}

        return Direct(context, _in_its_place(tokens, sum(len(message.content) for message in request.messages)))

    def error(self, error: WeirError) -> Reply:
        return error_reply(error)

    def late_error(self, error: WeirError) -> bytes:
        return error_event(error)


def _in_its_place(work: Callable[[GenerationService], Any], chars: int) -> Callable[[GenerationService], Any]:
    """Return `work` as an answer; a long one must not hold up the streams of others."""

    async def answer(service: GenerationService) -> Reply:
        value = await asyncio.to_thread(work, service) if chars > _INLINE_CHARS else work(service)
        return Reply(200, JSON_HEADERS, orjson.dumps(value))

    return answer


def _tokens(model: ServedModel, text: str) -> list[dict[str, Any]]:
    """Return TGI's tokens: `start` and `stop` count bytes of UTF-8, as TGI's do, not characters."""
    tokens = []
    at_char = at_byte = 0
    for token, start, stop in model.prompts.tokenizer.spans(text):
        if start < at_char:
            at_char = at_byte = 0
        at_byte += len(text[at_char:start].encode())
        at_char = start
        piece = text[start:stop]
        tokens.append({"id": token, "text": piece, "start": at_byte, "stop": at_byte + len(piece.encode())})
    return tokens
