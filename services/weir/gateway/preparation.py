"""From what a caller asked to what a node is given: input filter, template, token limits."""

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from time import monotonic
from typing import Any

from weir.contracts.caller import ANYONE
from weir.contracts.errors import UnknownModelError, ValidationError
from weir.contracts.grammar import JsonSchema
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.gateway.catalog import ServedModel
from weir.gateway.filtering import PromptFilter
from weir.gateway.findings import Seal
from weir.gateway.generation import Ask, Generation
from weir.gateway.refusals import ContextTooLongError, UnknownAdapterError, UnsupportedError
from weir.telemetry.metrics import GatewayMetrics

_INLINE_CHARS = 16_384  # longer prompts are filtered and tokenised in a thread


@dataclass(frozen=True, slots=True)
class Preparation:
    """Makes the request for the node; the same for every surface."""

    metrics: GatewayMetrics
    seal: Seal | None = None

    async def prepared(self, generation: Generation) -> GenerateRequest:
        """Return a request that a backend can run, and note its token counts in `generation`.

        Raises:
            PromptBlockedError: an input rule matched, or the filter failed.
            ContextTooLongError: prompt and answer do not fit.
            ValidationError: the chat template refuses the messages, or a token is not in the vocabulary.
            UnsupportedError: the chat template has no place for tools.
            UnknownModelError: the release has another version, or no such adapter.
        """
        if _size(generation.ask.request) > _INLINE_CHARS:
            return await asyncio.to_thread(self._prepare, generation)
        return self._prepare(generation)

    def _prepare(self, generation: Generation) -> GenerateRequest:
        ask, model = generation.ask, generation.model
        _check_served(model, ask)
        request = self._filtered(_with_text(model, ask.request), generation)
        generation.prompt, generation.filtered = request.prompt, request
        if generation.fallback is not None:
            return request
        prompt = _rendered(model, request, ask)
        _count(generation, request, prompt)
        generation.max_new_tokens = _room(model.context_tokens, generation.prompt_tokens, ask)
        return _addressed(request, prompt, _settled(model, request, generation.max_new_tokens), generation)

    def _filtered(self, request: GenerateRequest, generation: Generation) -> GenerateRequest:
        prompt = PromptFilter(generation.guard, self.seal, generation.notes)
        began = monotonic()
        try:
            return prompt.passed(request, self.metrics)
        finally:
            if generation.span is not None:
                generation.span.part("guard input", began, monotonic(), {"weir.guard.rules": prompt.found})
            generation.verdicts += prompt.found
            generation.fallback = prompt.fallback


def _size(request: GenerateRequest) -> int:
    """Return how many characters there are to look at."""
    size = len(request.prompt) + len(request.prompt_ids)
    for message in request.messages:
        size += len(message.content)
        for call in message.tool_calls:
            size += len(call.arguments)
    for tool in request.tool_use.tools if request.tool_use is not None else ():
        size += len(tool.parameters) + len(tool.description or "")
    return size


def _check_served(model: ServedModel, ask: Ask) -> None:
    """Refuse what only this model cannot do; fields are named as in OpenAI's API where no other has them."""
    request = ask.request
    if ask.version is not None and ask.version != model.version:
        raise UnknownModelError("this gateway does not serve the version that was asked for")
    if request.adapter is not None and request.adapter not in model.adapters:
        raise UnknownAdapterError
    size = model.prompts.manifest.vocab_size
    if request.sampling.logit_bias and any(token >= size for token, _ in request.sampling.logit_bias):
        raise ValidationError(f"`logit_bias`: a token id beyond the vocabulary of {size}", "logit_bias")
    check_tools(model, request)


def check_tools(model: ServedModel, request: GenerateRequest) -> None:
    """Raises UnsupportedError when the model's template has no place for the tools that are in the request."""
    uses_tools = request.tool_use is not None or any(message.tool_calls for message in request.messages)
    if uses_tools and model.prompts.tool_format is None:
        raise UnsupportedError("tools", "`tools`: the chat template of this model has no place for tools")


def _with_text(model: ServedModel, request: GenerateRequest) -> GenerateRequest:
    """Give a prompt of token ids its text, which is what guards read."""
    if not request.prompt_ids:
        return request
    size = model.prompts.manifest.vocab_size
    if max(request.prompt_ids) >= size:
        raise ValidationError(f"`prompt`: a token id beyond the vocabulary of {size}", "prompt")
    text = model.prompts.tokenizer.decode(list(request.prompt_ids), skip_special=False)
    return request.model_copy(update={"prompt": text})


def _rendered(model: ServedModel, request: GenerateRequest, ask: Ask) -> str:
    if request.messages:
        return rendered(model, request)
    text = request.prompt
    if request.prompt_ids:
        return text
    if ask.truncate_tokens is not None:
        ids = model.prompts.tokenizer.encode(text)
        if len(ids) > ask.truncate_tokens:
            kept = model.prompts.tokenizer.decode(ids[-ask.truncate_tokens :], skip_special=False)
            text = kept.lstrip("\ufffd")  # the cut may have split a character
    return text if ask.is_raw else model.prompts.from_text(text)


def rendered(model: ServedModel, request: GenerateRequest) -> str:
    """Return messages, and tools if there are any, in the template of the model."""
    use = request.tool_use
    if use is None:
        return model.prompts.from_messages(request.messages)
    prompt = model.prompts.from_messages(request.messages, use.tools)
    tool_format = model.prompts.tool_format
    return prompt + tool_format.begun if use.must_call and tool_format else prompt


def _settled(model: ServedModel, request: GenerateRequest, max_new_tokens: int) -> SamplingParams:
    sampling, changed = request.sampling, _held_to_tools(model, request)
    if sampling.max_new_tokens != max_new_tokens:
        changed["max_new_tokens"] = max_new_tokens
    return sampling.model_copy(update=changed) if changed else sampling


def _addressed(
    request: GenerateRequest, prompt: str, sampling: SamplingParams, generation: Generation
) -> GenerateRequest:
    """Return what a node is sent: text, who goes first, and whose beginnings of prompts may be shared."""
    context = generation.ask.context
    changed: dict[str, Any] = {
        "prompt": prompt,
        "messages": (),
        "tool_use": None,
        "sampling": sampling,
        "model": generation.model.name,
        "priority": context.effective_priority,
    }
    if context.caller.tenant != ANYONE.tenant:
        changed["cache_salt"] = _salt(context.caller.tenant, request.cache_salt)
    if (traceparent := generation.traceparent) is not None:
        changed["traceparent"] = traceparent
    return request.changed(**changed)


@lru_cache(maxsize=4096)
def _salt(tenant: str, own: str | None) -> str:
    """Return a salt that no other tenant has, and that does not tell who this one is."""
    return sha256(f"{tenant}\n{own or ''}".encode()).hexdigest()[:32]


def _held_to_tools(model: ServedModel, request: GenerateRequest) -> dict[str, Any]:
    """Return the sampling parameters that make an answer the call it must be, or end it after its only one."""
    use, tool_format = request.tool_use, model.prompts.tool_format
    if use is None or tool_format is None:
        return {}
    if use.must_call:
        tools = [tool for tool in use.tools if use.only in {None, tool.name}]
        # A stop sequence would cut the call: what it was meant for is text.
        return {"grammar": JsonSchema(schema_text=tool_format.call_schema(tools)), "stop": (), "stop_token_ids": ()}
    return {} if use.parallel else {"stop": (*request.sampling.stop, tool_format.closing)}


def _count(generation: Generation, request: GenerateRequest, prompt: str) -> None:
    """Note how many tokens the prompt has; only as exactly as it matters."""
    if request.prompt_ids:
        generation.prompt_tokens, generation.is_counted = len(request.prompt_ids), True
        return
    wanted = request.sampling.max_new_tokens
    spare = 0 if wanted is None else generation.model.context_tokens - wanted
    generation.prompt_tokens, generation.is_counted = generation.model.prompts.size(prompt, spare)


def _room(context_tokens: int, prompt_tokens: int, ask: Ask) -> int:
    """Return how many tokens may be generated: what was asked for, else what is left."""
    wanted = ask.request.sampling.max_new_tokens
    left = context_tokens - prompt_tokens
    if left < 1 and wanted is None:
        raise ContextTooLongError(context_tokens, prompt_tokens, None)
    if wanted is not None and wanted > left:
        raise ContextTooLongError(context_tokens, prompt_tokens, wanted)
    return left if wanted is None else wanted
