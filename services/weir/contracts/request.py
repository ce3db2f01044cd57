"""What a caller may ask for, in one form for all surfaces."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from weir.contracts.grammar import Grammar
from weir.contracts.trace import TRACEPARENT

MODEL_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
BANNED_BIAS = -100.0  # a token with this bias is never chosen, at any temperature
StopString = Annotated[str, Field(min_length=1, max_length=256)]
_put = object.__setattr__  # past the check that a model is frozen
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
Bias = Annotated[float, Field(ge=BANNED_BIAS, le=100.0)]


def _pairs(bias: Any) -> Any:
    return tuple(bias.items()) if isinstance(bias, Mapping) else bias


LogitBias = Annotated[tuple[tuple[TokenId, Bias], ...], BeforeValidator(_pairs), Field(max_length=1_024)]


class Quick(BaseModel):
    """Two ways to make a frozen model of values that were checked before, in a third of the time."""

    @classmethod
    def trusted(cls, **fields: Any) -> Self:
        """As `model_construct`: what is left out has its default, and nothing is checked."""
        return cls._made({**_defaults(cls), **fields}, set(fields))

    def changed(self, **fields: Any) -> Self:
        """As `model_copy(update=fields)`, which checks nothing either."""
        return self._made({**self.__dict__, **fields}, self.__pydantic_fields_set__ | fields.keys())

    @classmethod
    def _made(cls, values: dict[str, Any], given: set[str]) -> Self:
        made = object.__new__(cls)
        _put(made, "__dict__", values)
        _put(made, "__pydantic_fields_set__", given)
        _put(made, "__pydantic_extra__", None)
        _put(made, "__pydantic_private__", None)
        return made


@cache
def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    return {name: field.default for name, field in model.model_fields.items() if not field.is_required()}


class ToolCall(BaseModel):
    """A call that an assistant made earlier; `arguments` is JSON text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    arguments: str = Field(repr=False)


class Message(Quick):
    """One turn of a conversation. A `tool` turn answers the call `tool_call_id`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def is_plain_user(self) -> bool:
        return self.role == "user" and self.name is None and self.tool_call_id is None and not self.tool_calls


class Tool(BaseModel):
    """A function that the model may call; `parameters` is the JSON text of its arguments' schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = Field(default=None, repr=False)
    parameters: str = Field(default='{"type":"object","properties":{},"additionalProperties":false}', repr=False)


class ToolUse(BaseModel):
    """The tools of a request. `must_call`: the answer is one call and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tools: tuple[Tool, ...] = Field(min_length=1, max_length=64)
    only: str | None = Field(default=None, description="the one tool that may be called; none: any")
    must_call: bool = False
    parallel: bool = Field(default=True, description="an answer may hold several calls")


class SamplingParams(BaseModel):
    """How the next token is chosen and when to stop.

    Logits are changed in this order: repetition penalty (prompt and completion), frequency and presence penalty
    (completion), bias, grammar; then temperature, top-k, top-p, min-p and typical-p cut what may be drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_new_tokens: int | None = Field(
        default=None, ge=1, le=131_072, description="tokens; none: what the context allows"
    )
    temperature: float = Field(default=0.0, ge=0.0, le=100.0, description="0 means greedy")
    top_k: int = Field(default=0, ge=0, description="0 means all")
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0, description="least probability, as a share of the likeliest's")
    typical_p: float = Field(default=1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=100.0)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    logit_bias: LogitBias = Field(default=(), description="token id → what is added to its logit; -100 bans it")
    seed: int | None = Field(default=None, ge=0, lt=2**64)
    stop: tuple[StopString, ...] = Field(default=(), max_length=16)
    stop_token_ids: tuple[TokenId, ...] = Field(default=(), max_length=64, description="end it like a stop string")
    min_new_tokens: int = Field(default=0, ge=0, le=131_072, description="tokens before an end token may come")
    ignore_eos: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=20, description="likeliest tokens given beside each chosen one")
    prompt_logprobs: int | None = Field(default=None, ge=0, le=20, description="the same for the prompt's own tokens")
    grammar: Grammar | None = None

    @field_validator("logit_bias")
    @classmethod
    def _one_bias_a_token(cls, pairs: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
        if len({token for token, _ in pairs}) < len(pairs):
            raise ValueError("a token has more than one bias")
        return pairs

    @field_validator("min_new_tokens")
    @classmethod
    def _least_before_most(cls, least: int, info: ValidationInfo) -> int:
        most = info.data.get("max_new_tokens")
        if most is not None and least > most:
            raise ValueError(f"more than max_new_tokens ({most})")
        return least

    @property
    def is_greedy(self) -> bool:
        """Below 1e-5 rounding alone would decide between tokens that differ at all."""
        return self.temperature < 1e-5


class GenerateRequest(Quick):
    """One generation. A surface fills `prompt`, `prompt_ids` or `messages`; a backend is always given `prompt`.

    With `prompt_ids` it is their text, for guards and for nodes that cannot take ids.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=128, description="for logs and traces; never a metric label")
    model: str | None = Field(default=None, description="none: the gateway's default model")
    prompt: str = Field(default="", repr=False)
    prompt_ids: tuple[TokenId, ...] = Field(
        default=(), max_length=131_072, repr=False, description="the prompt as its caller tokenised it"
    )
    messages: tuple[Message, ...] = Field(default=(), repr=False)
    tool_use: ToolUse | None = Field(default=None, description="beside messages")
    sampling: SamplingParams = SamplingParams()
    return_tokens: bool = Field(default=False, description="token ids, texts and log-probabilities are wanted")
    priority: int = Field(default=0, ge=-10, le=10, description="higher goes first")
    deadline_s: float | None = Field(
        default=None, gt=0, le=86_400, description="seconds from arrival at the engine; then it is given up"
    )
    adapter: str | None = Field(
        default=None, pattern=MODEL_NAME, description="one of the release's LoRA adapters; none: the model alone"
    )
    cache_salt: str | None = Field(
        default=None,
        max_length=128,
        repr=False,
        description="beginnings of prompts are shared between requests of equal salt only; none: the common salt",
    )
    traceparent: str | None = Field(default=None, pattern=TRACEPARENT, description="of the span that asks for it")

    @property
    def gives_tokens(self) -> bool:
        """Whether chunks carry their tokens."""
        return self.return_tokens or self.sampling.logprobs is not None

    @model_validator(mode="after")
    def _prompt_xor_messages(self) -> Self:
        if bool(self.prompt or self.prompt_ids) == bool(self.messages):
            raise ValueError("give either a prompt or messages")
        return self
