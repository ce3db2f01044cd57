"""The words of TGI's answers: tokens, details, headers."""

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any

from weir.contracts.events import Finished, FinishReason, PromptToken, Token
from weir.gateway.generation import Generation
from weir.gateway.streams import Collected
from weir.gateway.surfaces.base import Headers


def token_json(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}


def top_json(token: Token, special_ids: frozenset[int]) -> list[dict[str, Any]]:
    """Return the likeliest tokens of the place of `token`."""
    return [
        {"id": other.id, "text": other.text, "logprob": other.logprob, "special": other.id in special_ids}
        for other in token.top
    ]


def prefill_json(prompt: Iterable[PromptToken]) -> list[dict[str, Any]]:
    return [{"id": token.id, "text": token.text, "logprob": token.logprob} for token in prompt]


def reason_json(finished: Finished) -> dict[str, Any]:
    """TGI has no word for a filtered answer, and clients check the words: it gets one, and ours beside it."""
    if finished.reason is FinishReason.FILTERED:
        return {"finish_reason": FinishReason.STOP, "weir_finish_reason": FinishReason.FILTERED}
    return {"finish_reason": finished.reason}


def details_json(generation: Generation, answer: Collected, *, with_top: bool) -> dict[str, Any]:
    details = reason_json(answer.finished) | {
        "generated_tokens": answer.finished.usage.completion_tokens,
        "seed": generation.ask.request.sampling.seed,
        "prefill": prefill_json(answer.prompt),
        "tokens": [token_json(token) for token in answer.tokens],
    }
    if with_top:
        special = generation.model.prompts.tokenizer.special_ids
        details["top_tokens"] = [top_json(token, special) for token in answer.tokens]
    return details


def compute_headers(generation: Generation) -> Headers:
    characters = len(generation.ask.request.prompt)
    headers = [(b"x-compute-type", generation.pool.encode()), (b"x-compute-characters", b"%d" % characters)]
    if generation.is_counted:  # a stream's head may leave before the node has told
        headers.append((b"x-prompt-tokens", b"%d" % generation.prompt_tokens))
    return headers


def timing_headers(generation: Generation, answers: Sequence[Collected]) -> Headers:
    """Times in milliseconds, but `x-compute-time` in seconds: so does TGI."""
    now = monotonic()
    total_s = now - generation.began
    inference_s = max(now - generation.prepared - generation.queue_s, 0.0)
    count = sum([answer.finished.usage.completion_tokens for answer in answers])
    return [
        (b"x-compute-time", b"%.3f" % total_s),
        (b"x-total-time", _ms(total_s)),
        (b"x-validation-time", _ms(generation.prepared - generation.began)),
        (b"x-queue-time", _ms(generation.queue_s)),
        (b"x-inference-time", _ms(inference_s)),
        (b"x-time-per-token", _ms(inference_s / (count or 1))),
        (b"x-generated-tokens", b"%d" % count),
    ]


def _ms(seconds: float) -> bytes:
    return b"%d" % round(seconds * 1000)
