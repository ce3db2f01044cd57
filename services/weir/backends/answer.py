"""What a node says back, whatever wire it came over: bodies of the generate extension become events."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    ValidationError,
)
from weir.contracts.events import (
    Finished,
    FinishReason,
    GenerationEvent,
    PromptToken,
    Token,
    TokenChunk,
    TopToken,
    Usage,
)

_REASONS: Final = {reason.value: reason for reason in FinishReason} | {"stop": FinishReason.EOS}  # vLLM's word for both
_MAX_WORDS: Final = 300
_TEXT_AND_COUNT: Final = itemgetter("text_output", "num_output_tokens")
_TWO, _INT = frozenset({2}), frozenset({int})
STATUSES: Final = {
    "overloaded": 429,
    "backend_timeout": 504,
    "deadline_exceeded": 504,
    "backend_unavailable": 503,
    "validation": 422,
}


class AnswerReader:
    """Turns one answer's bodies into events.

    `failure` is set when a body said that the answer failed: raise it once the events before it are passed on.
    `is_cut`: the answer is over here, and the node goes on with it until it is told to stop.
    """

    is_cut = False

    def __init__(self, node: str) -> None:
        self._node = node
        self._prompt_count = 0
        self._completion_count = 0
        self._prompt: list[PromptToken] = []  # waits for the first chunk
        self.failure: Exception | None = None

    def take(self, bodies: Sequence[Mapping[str, Any]]) -> list[GenerationEvent]:
        """Turn what arrived together into one chunk, and the end if it was among it.

        Raises:
            BackendError: this is not the protocol.
        """
        texts: list[str] = []
        tokens: list[Token] = []
        token_count, finished = 0, None
        if len(bodies) > 1 and (plain := _plain(bodies[:-1])) is not None:
            text, token_count = plain
            texts.append(text)
            self._completion_count += token_count
            bodies = bodies[-1:]
        for body in bodies:
            if "error" in body:
                self.failure = self._failure(body)
                break
            token_count += self._one(body, texts, tokens)
            reason = body.get("finish_reason")
            if reason and reason != "None":  # vLLM's backend writes out Python's None while an answer goes on
                finished = Finished(self._reason(reason), Usage(self._prompt_count, self._completion_count))
                break
        text = texts[0] if len(texts) == 1 else "".join(texts)
        events: list[GenerationEvent] = []
        if text or tokens or (finished and self._prompt):
            events.append(TokenChunk(text, token_count, tuple(tokens), tuple(self._prompt)))
            self._prompt = []
        if finished is not None:
            events.append(finished)
        return events

    def _one(self, body: Mapping[str, Any], texts: list[str], tokens: list[Token]) -> int:
        """Take in one body; return how many tokens it brought."""
        text = body.get("text_output")
        if text:
            texts.append(str(text))
        new = 0
        try:
            if given := body.get("tokens"):
                tokens += map(_token, given)
                new = len(given)
            if given := body.get("prompt_tokens"):
                self._prompt += map(_prompt_token, given)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BackendError(f"{self._node} sent a malformed token") from error
        count = body.get("num_input_tokens")
        if isinstance(count, int):
            self._prompt_count = count
        brought = body.get("num_output_tokens")  # what this body brought, as in Triton's vLLM backend
        if not isinstance(brought, int):
            brought = new or int(bool(text))
        self._completion_count += brought
        return brought

    def _reason(self, reason: object) -> FinishReason:
        known = _REASONS.get(str(reason))
        if known is None:
            raise BackendError(f"{self._node} ended an answer for a reason that is not in the protocol")
        return known

    def _failure(self, body: Mapping[str, Any]) -> Exception:
        code = str(body.get("code"))
        return failure(self._node, STATUSES.get(code, 502), str(body["error"]), is_deadline=code == "deadline_exceeded")


def _plain(bodies: Sequence[Mapping[str, Any]]) -> tuple[str, int] | None:
    """Return text and tokens of bodies that hold nothing else, as most do; none: some do. No step per body."""
    if not _TWO.issuperset(map(len, bodies)):
        return None
    try:
        texts, counts = zip(*map(_TEXT_AND_COUNT, bodies), strict=True)
        text = "".join(texts)
    except (KeyError, TypeError):
        return None
    return (text, sum(counts)) if _INT.issuperset(map(type, counts)) else None


def failure(node: str, status: int, words: str, *, retry_after_s: float = 1.0, is_deadline: bool = False) -> Exception:
    """Turn a node's refusal into one of ours. Its words are passed on only where it says what the caller did wrong."""
    match status:
        case 429:
            return OverloadedError(retry_after_s)
        case 503:
            return BackendUnavailableError(f"{node} is not ready")
        case 504:
            return DeadlineExceededError() if is_deadline else BackendTimeoutError(f"{node} did not answer in time")
        case 404:
            return BackendUnavailableError(f"{node} does not serve this model")
        case 400 | 422:
            return ValidationError(words[:_MAX_WORDS])
        case _:
            return BackendError(f"{node} failed (status {status})")


def _token(given: Mapping[str, Any]) -> Token:
    get = given.get
    top = get("top")
    return Token(
        int(given["id"]),
        str(given["text"]),
        float(get("logprob") or 0.0),
        bool(get("special")),
        _top(top) if top else (),
    )


def _prompt_token(given: Mapping[str, Any]) -> PromptToken:
    logprob = given["logprob"]
    top = _top(given.get("top") or ())
    return PromptToken(int(given["id"]), str(given["text"]), None if logprob is None else float(logprob), top)


def _top(given: Iterable[Mapping[str, Any]]) -> tuple[TopToken, ...]:
    return tuple(TopToken(int(t["id"]), str(t["text"]), float(t["logprob"])) for t in given)
