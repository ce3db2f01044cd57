"""What the POST routes answer, for the OpenAPI document: FastAPI never sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from weir.gateway.surfaces import openai_documents as openai
from weir.gateway.surfaces import tgi_documents as tgi
from weir.gateway.surfaces import triton_documents as triton

_MUST_CHANGE: Final = {
    401: "no key, or none that this gateway takes",
    408: "the body did not arrive in time",
    413: "the body is too large",
    422: "the request must change",
}
_TRY_AGAIN: Final = {
    429: "overloaded; see Retry-After",
    503: "no node is ready; see Retry-After",
    504: "the caller's deadline passed, or a node did not answer in time",
    500: "a fault of the gateway",
}
_TGI_STATUSES: Final = _MUST_CHANGE | {424: "a node failed"} | _TRY_AGAIN
_LOCAL_STATUSES: Final = _MUST_CHANGE | {429: "a limit of the key; see Retry-After", 500: "a fault of the gateway"}
_OTHER_STATUSES: Final = _MUST_CHANGE | {404: "there is no such model", 502: "a node failed"} | _TRY_AGAIN
_OPENAI_STATUSES: Final = _OTHER_STATUSES | {
    400: "the body is no JSON, or a field is wrong",
    422: "a rule blocked the prompt, or a string holds half a character",
}


@dataclass(frozen=True, slots=True)
class Documented:
    """One route's answers; without `answer` it refuses whatever it is asked.

    `in_array`: an array of one `answer`. `event`: the data of a server-sent event, if any.
    """

    tag: str
    answer: type[BaseModel] | None
    error: type[BaseModel]
    statuses: Mapping[int, str]
    example: Mapping[str, Any]
    event: type[BaseModel] | None = None
    in_array: bool = False
    alternatives: tuple[type[BaseModel], ...] = field(default=())  # what else may come, by what the body is


_INPUTS: Final = {"inputs": "How do I return an order?", "parameters": {"max_new_tokens": 40, "details": True}}
_MESSAGES: Final = {"messages": [{"role": "user", "content": "How do I return an order?"}], "max_tokens": 40}
_PROMPT: Final = {"prompt": "Q: How do I return an order?\nA:", "max_tokens": 40}
_RESPONSE: Final = {"input": "How do I return an order?", "max_output_tokens": 40}
_TEXT_INPUT: Final = {"text_input": "How do I return an order?", "sampling_parameters": {"max_tokens": 40}}

_GENERATE = Documented("TGI", tgi.TgiAnswer, tgi.TgiError, _TGI_STATUSES, _INPUTS, tgi.TgiTokenEvent)
_TRITON = Documented(
    "Triton", triton.TritonAnswer, triton.TritonError, _OTHER_STATUSES, _TEXT_INPUT, triton.TritonEvent
)

BY_PATH: Final[Mapping[str, Documented]] = {
    "/": Documented("TGI", tgi.TgiAnswer, tgi.TgiError, _TGI_STATUSES, _INPUTS, tgi.TgiTokenEvent, in_array=True),
    "/generate": _GENERATE,
    "/generate_stream": _GENERATE,
    "/tokenize": Documented(
        "TGI", tgi.TgiTokenSpan, tgi.TgiError, _LOCAL_STATUSES, {"inputs": "How do I return an order?"}, in_array=True
    ),
    "/chat_tokenize": Documented(
        "TGI", tgi.TgiChatTokens, tgi.TgiError, _LOCAL_STATUSES | {404: "there is no such model"}, _MESSAGES
    ),
    "/invocations": Documented(
        "TGI",
        tgi.TgiAnswer,
        tgi.TgiError,
        _TGI_STATUSES | {404: "there is no such model"},
        _INPUTS,
        tgi.TgiTokenEvent,
        in_array=True,
        alternatives=(openai.ChatCompletion, openai.Completion),
    ),
    "/vertex": Documented(
        "TGI", tgi.VertexAnswer, tgi.TgiError, _TGI_STATUSES, {"instances": [{"inputs": "How do I return an order?"}]}
    ),
    "/v1/chat/completions": Documented(
        "OpenAI", openai.ChatCompletion, openai.OpenAIError, _OPENAI_STATUSES, _MESSAGES, openai.ChatCompletionChunk
    ),
    "/v1/completions": Documented(
        "OpenAI", openai.Completion, openai.OpenAIError, _OPENAI_STATUSES, _PROMPT, openai.Completion
    ),
    "/v1/responses": Documented(
        "OpenAI", openai.Response, openai.OpenAIError, _OPENAI_STATUSES, _RESPONSE, openai.ResponseStreamEvent
    ),
    "/v1/embeddings": Documented(
        "OpenAI",
        openai.EmbeddingList,
        openai.OpenAIError,
        _OPENAI_STATUSES,
        {"input": "How do I return an order?"},
    ),
    "/v2/models/{model}/generate": _TRITON,
    "/v2/models/{model}/generate_stream": _TRITON,
    "/v2/models/{model}/versions/{version}/generate": _TRITON,
    "/v2/models/{model}/versions/{version}/generate_stream": _TRITON,
}
