"""A node over HTTP: Open Inference Protocol v2, generate extension, server-sent events."""

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import orjson

from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    ReleaseError,
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
from weir.contracts.grammar import Grammar, JsonObject, JsonSchema, OneOf, Regex
from weir.contracts.request import GenerateRequest, SamplingParams

_JSON = {"content-type": "application/json"}
_MAX_EVENT_BYTES = 1 << 20
_PROBE_TIMEOUT_S = 1.0
_LOAD_TIMEOUT_S = 600.0
_THEIRS = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens"}
_ALWAYS = frozenset(
    {"max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed", "stop", "ignore_eos"}
)
_REASONS = {reason.value: reason for reason in FinishReason}


class HttpNode:
    """One node that serves `model`. Keeps connections alive between requests; one connection per running request."""

    def __init__(self, name: str, url: str, model: str, *, connect_timeout_s: float = 2.0) -> None:
        self._name = name
        self._url = url.rstrip("/")
        self._model = model
        self._connect_timeout_s = connect_timeout_s
        self._open_session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return self._name

    async def generate(self, request: GenerateRequest, *, timeout_s: float) -> AsyncGenerator[GenerationEvent, None]:
        url = f"{self._url}/v2/models/{request.model or self._model}/generate_stream"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s, sock_read=timeout_s)
        counts = _Counts()
        with _translated(self._name):
            response = await self._session.post(url, data=_request_body(request), headers=_JSON, timeout=timeout)
            try:
                if response.status != 200:
                    raise _failure(self._name, response.status, await response.read(), response.headers)
                async for events in _batches(response, self._name):
                    for event in _coalesced(events, counts, self._name):
                        yield event
                        if event.type == "finished":
                            return
                raise BackendUnavailableError(f"{self._name} went away in the middle of an answer")
            finally:
                response.close()  # a connection in the middle of an answer is dropped: that is how a node hears of it

    async def ready(self) -> bool:
        timeout = aiohttp.ClientTimeout(total=_PROBE_TIMEOUT_S)
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._session.get(f"{self._url}/v2/models/{self._model}/ready", timeout=timeout) as response:
                return response.status == 200
        return False

    async def load(self, model: str, version: int) -> None:
        url = f"{self._url}/v2/repository/models/{model}/load"
        timeout = aiohttp.ClientTimeout(total=_LOAD_TIMEOUT_S)
        body = orjson.dumps({"parameters": {"version": version}})
        with _translated(self._name):
            async with self._session.post(url, data=body, headers=_JSON, timeout=timeout) as response:
                if response.status != 200:
                    words = _words(await response.read())
                    raise ReleaseError(f"{self._name} did not load {model} {version}: {words}")

    async def aclose(self) -> None:
        if self._open_session is not None:
            await self._open_session.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._open_session is None or self._open_session.closed:  # made here: it belongs to the running loop
            self._open_session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._open_session


class _Counts:
    """What a stream said so far: token counts, and tokens of the prompt that wait for the first chunk."""

    def __init__(self) -> None:
        self.prompt = 0
        self.completion = 0
        self.prompt_tokens: list[PromptToken] = []


def _request_body(request: GenerateRequest) -> bytes:
    return orjson.dumps(
        {
            "id": request.id,
            "text_input": request.prompt,
            "stream": True,
            "sampling_parameters": _sampling_parameters(request.sampling),
            "exclude_input_in_output": True,
            "return_finish_reason": True,
            "return_num_input_tokens": True,
            "return_num_output_tokens": True,
            "return_tokens": request.return_tokens,
            **request.model_dump(include={"priority", "deadline_s", "cache_salt"}, exclude_defaults=True),
            **({"lora_name": request.adapter} if request.adapter else {}),
            **({"prompt_token_ids": request.prompt_ids} if request.prompt_ids else {}),
        }
    )


def _sampling_parameters(sampling: SamplingParams) -> dict[str, Any]:
    """In vLLM's names. Of the newer fields only what was set is sent: a node that knows none of them still answers."""
    values = {name: getattr(sampling, name) for name in SamplingParams.model_fields if name != "grammar"}
    parameters = {
        _THEIRS.get(name, name): list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None and (name in _ALWAYS or value != SamplingParams.model_fields[name].default)
    }
    if sampling.logit_bias:
        parameters["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    if sampling.grammar is not None:
        parameters["structured_outputs"] = _structured_outputs(sampling.grammar)
    return parameters


def _structured_outputs(grammar: Grammar) -> dict[str, Any]:
    match grammar:
        case JsonSchema(schema_text=text):
            return {"json": text}
        case JsonObject():
            return {"json_object": True}
        case Regex(pattern=pattern):
            return {"regex": pattern}
        case OneOf(choices=choices):
            return {"choice": choices}


async def _batches(response: aiohttp.ClientResponse, node: str) -> AsyncGenerator[list[bytes], None]:
    """Yield, per read, the data of all events that have fully arrived."""
    rest = b""
    async for read in response.content.iter_any():
        *whole, rest = (rest + read).split(b"\n\n")
        if len(rest) > _MAX_EVENT_BYTES:
            raise BackendError(f"{node} sent an event of more than {_MAX_EVENT_BYTES} bytes")
        if data := [event[5:].strip() for event in whole if event.startswith(b"data:")]:
            yield data


def _coalesced(events: Sequence[bytes], counts: _Counts, node: str) -> Generator[GenerationEvent, None, None]:
    """Turn what arrived together into one chunk, and the end if it was among it."""
    texts: list[str] = []
    tokens: list[Token] = []
    token_count, finished, failure = 0, None, None
    for data in events:
        body = _decoded(data, node)
        if "error" in body:
            failure = _failure(node, _status_of(body), data, {})
            break
        new = _tokens(body, node)
        counts.prompt_tokens += _prompt_tokens(body, node)
        token_count += _read_counts(body, counts, len(new))
        texts.append(str(body.get("text_output") or ""))
        tokens += new
        if reason := body.get("finish_reason"):
            usage = Usage(counts.prompt, counts.completion)
            finished = Finished(_finish_reason(str(reason), node), usage)
            break
    if tokens or any(texts) or (finished and counts.prompt_tokens):
        prompt, counts.prompt_tokens = tuple(counts.prompt_tokens), []
        yield TokenChunk("".join(texts), token_count, tuple(tokens), prompt)
    if failure is not None:
        raise failure
    if finished is not None:
        yield finished


def _decoded(data: bytes, node: str) -> Mapping[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BackendError(f"{node} sent something that is not JSON") from error
    if not isinstance(body, dict):
        raise BackendError(f"{node} sent something that is not an event")
    return body


def _tokens(body: Mapping[str, Any], node: str) -> list[Token]:
    with _well_formed(node):
        return [
            Token(int(t["id"]), str(t["text"]), float(t.get("logprob") or 0.0), bool(t.get("special", False)), _top(t))
            for t in body.get("tokens") or ()
        ]


def _prompt_tokens(body: Mapping[str, Any], node: str) -> list[PromptToken]:
    with _well_formed(node):
        return [
            PromptToken(int(t["id"]), str(t["text"]), None if t["logprob"] is None else float(t["logprob"]), _top(t))
            for t in body.get("prompt_tokens") or ()
        ]


def _top(token: Mapping[str, Any]) -> tuple[TopToken, ...]:
    return tuple(TopToken(int(t["id"]), str(t["text"]), float(t["logprob"])) for t in token.get("top") or ())


@contextmanager
def _well_formed(node: str) -> Generator[None, None, None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(f"{node} sent a malformed token") from error


def _read_counts(body: Mapping[str, Any], counts: _Counts, token_count: int) -> int:
    """Add up one event; `num_output_tokens` is what this event brought, as in Triton's vLLM backend."""
    if isinstance(prompt := body.get("num_input_tokens"), int):
        counts.prompt = prompt
    given = body.get("num_output_tokens")
    brought = given if isinstance(given, int) else token_count or int(bool(body.get("text_output")))
    counts.completion += brought
    return brought


def _finish_reason(reason: str, node: str) -> FinishReason:
    if reason == "stop":  # vLLM's word for both
        return FinishReason.EOS
    known = _REASONS.get(reason)
    if known is None:
        raise BackendError(f"{node} ended an answer for a reason that is not in the protocol")
    return known


def _status_of(body: Mapping[str, Any]) -> int:
    known = {
        "overloaded": 429,
        "backend_timeout": 504,
        "deadline_exceeded": 504,
        "backend_unavailable": 503,
        "validation": 422,
    }
    return known.get(str(body.get("code")), 502)


def _failure(node: str, status: int, body: bytes, headers: Mapping[str, str]) -> Exception:
    """Turn a node's refusal into one of ours. Its words are passed on only where it says what the caller did wrong."""
    if status == 429:
        return OverloadedError(_seconds(headers.get("retry-after")))
    if status == 503:
        return BackendUnavailableError(f"{node} is not ready")
    if status == 504:
        late = b'"deadline_exceeded"' in body
        return DeadlineExceededError() if late else BackendTimeoutError(f"{node} did not answer in time")
    if status == 404:
        return BackendUnavailableError(f"{node} does not serve this model")
    if status in {400, 422}:
        return ValidationError(_words(body))
    return BackendError(f"{node} failed (status {status})")


def _words(body: bytes) -> str:
    """Return what a node says of its refusal, cut to a sane length."""
    with suppress(orjson.JSONDecodeError, AttributeError, UnicodeDecodeError):
        return str(orjson.loads(body).get("error", "refused"))[:300]
    return "refused"


def _seconds(text: str | None) -> float:
    with suppress(TypeError, ValueError):
        return min(max(float(text or 1), 1.0), 300.0)
    return 1.0


@contextmanager
def _translated(node: str) -> Generator[None, None, None]:
    """Let no exception of aiohttp leave this module."""
    try:
        yield
    except aiohttp.ServerTimeoutError as error:
        kind = BackendUnavailableError if isinstance(error, aiohttp.ConnectionTimeoutError) else BackendTimeoutError
        raise kind(f"{node} did not answer in time") from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        raise BackendUnavailableError(f"{node} cannot be reached, or went away") from error
    except aiohttp.ClientError as error:
        raise BackendError(f"{node} did not speak the protocol") from error
    except (TimeoutError, OSError) as error:
        raise BackendUnavailableError(f"{node} cannot be reached") from error
