"""What the policy is told of a request."""

from typing import Final

from weir.contracts.request import GenerateRequest
from weir.routing.policy.grid import MOST_TOKENS
from weir.routing.policy.job import Beginning, Job

_CHARS_PER_TOKEN: Final = 3  # where nobody counted: between what scripts of words and of characters come to
_BEGINNINGS: Final = (8192, 2048, 512, 128)  # characters
_ANY_LENGTH: Final = 4096  # tokens, of an answer without a bound


def job_of(request: GenerateRequest, prompt_tokens: int, *, has_choice: bool) -> Job:
    """Build it; beginnings of the prompt are hashed only where there `has_choice` of nodes."""
    tokens = min(prompt_tokens or len(request.prompt_ids) or len(request.prompt) // _CHARS_PER_TOKEN, MOST_TOKENS)
    most = request.sampling.max_new_tokens or _ANY_LENGTH
    model = request.model or ""
    if not has_choice or len(request.prompt) < _BEGINNINGS[-1]:
        return Job(model, tokens, most)
    return Job(model, tokens, most, _beginnings(request, tokens))


def _beginnings(request: GenerateRequest, tokens: int) -> tuple[Beginning, ...]:
    """Hash the beginnings that a node may have read before: of one model and adapter, and of one tenant's prompts."""
    prompt, whose = request.prompt, (request.model, request.adapter, request.cache_salt)
    return tuple(
        (hash((whose, prompt[:chars])), tokens * chars // len(prompt)) for chars in _BEGINNINGS if len(prompt) >= chars
    )
