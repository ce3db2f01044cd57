"""The shapes of TGI's answers, for the OpenAPI document; answers are written without them (see `tgi_answer`)."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Reason = Literal["length", "eos_token", "stop_sequence"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TgiToken(_Answer):
    """`text` is what the token added. Id 0 with log-probability 0 stands for text that a rule replaced."""

    id: int
    text: str
    logprob: float
    special: bool


class TgiPrefillToken(_Answer):
    """A token of the prompt as the model read it; the first one has no log-probability."""

    id: int
    text: str
    logprob: float | None


class _Details(_Answer):
    finish_reason: Reason
    generated_tokens: int
    seed: int | None
    weir_finish_reason: Literal["content_filter"] | None = Field(
        default=None, description="there when a rule ended the answer; finish_reason is stop_sequence then"
    )
    prefill: list[TgiPrefillToken] = Field(description="empty without decoder_input_details")
    tokens: list[TgiToken]
    top_tokens: list[list[TgiToken]] | None = Field(default=None, description="per token, with top_n_tokens")


class TgiSequence(_Details):
    generated_text: str


class TgiDetails(_Details):
    best_of_sequences: list[TgiSequence] | None = Field(default=None, description="the others, the better ones first")


class TgiAnswer(_Answer):
    generated_text: str
    details: TgiDetails | None = None


class TgiStreamDetails(_Answer):
    finish_reason: Reason
    generated_tokens: int
    seed: int | None
    input_length: int
    weir_finish_reason: Literal["content_filter"] | None = None


class TgiError(_Answer):
    """`error_type` is what clients pick their exception by."""

    error: str
    error_type: Literal[
        "validation",
        "authentication",
        "conflict",
        "generation",
        "overloaded",
        "deadline_exceeded",
        "internal",
        "healthcheck",
        "not_found",
    ]


class TgiTokenEvent(_Answer):
    """One token; only the last event has `generated_text`."""

    index: int = Field(ge=1)
    token: TgiToken
    top_tokens: list[TgiToken] | None = None
    generated_text: str | None
    details: TgiStreamDetails | None
    weir_finish_reason: Literal["content_filter"] | None = None


class TgiTokenSpan(_Answer):
    """`start` and `stop` count bytes of UTF-8; tokens that share one character all span it."""

    id: int
    text: str
    start: int
    stop: int


class TgiChatTokens(_Answer):
    tokenize_response: list[TgiTokenSpan]
    templated_text: str


class VertexAnswer(_Answer):
    predictions: list[str]


class Parity(_Answer):
    """How the served flavour answers compared with the checkpoint."""

    argmax_agreement: float
    mean_kl: float
    greedy_equal: bool


class Provenance(_Answer):
    version: int
    created: str
    base: str
    training_run: str
    recipe_sha256: str
    data_sha256: dict[str, str]
    flavour: str
    parity: Parity
    adapters: list[str]


class ServingNode(_Answer):
    name: str
    pool: str
    models: list[str]
    flavour: str | None
    version: int
    ready: bool


class TgiInfo(_Answer):
    model_id: str
    model_sha: None
    model_pipeline_tag: Literal["text-generation"]
    model_version: int
    max_concurrent_requests: int
    max_best_of: int
    max_stop_sequences: int
    max_input_tokens: int
    max_total_tokens: int
    validation_workers: int
    max_client_batch_size: int
    router: Literal["weir"]
    version: str
    sha: None
    docker_label: None
    release: Provenance
    nodes: list[ServingNode]
