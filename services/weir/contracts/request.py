"""What a caller may ask for, in one form for all surfaces."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MODEL_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
StopString = Annotated[str, Field(min_length=1, max_length=256)]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class SamplingParams(BaseModel):
    """How the next token is chosen and when to stop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int | None = Field(
        default=None, ge=1, le=131_072, description="tokens; none: what the context allows"
    )
    temperature: float = Field(default=0.0, ge=0.0, le=100.0, description="0 means greedy")
    top_k: int = Field(default=0, ge=0, description="0 means all")
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=100.0)
    seed: int | None = Field(default=None, ge=0, lt=2**64)
    stop: tuple[StopString, ...] = Field(default=(), max_length=16)
    ignore_eos: bool = False

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0.0


class GenerateRequest(BaseModel):
    """One generation. A surface fills `prompt` or `messages`; a backend is always given `prompt`, fully rendered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=128, description="for logs and traces; never a metric label")
    model: str | None = Field(default=None, description="none: the gateway's default model")
    prompt: str = Field(default="", repr=False)
    messages: tuple[Message, ...] = Field(default=(), repr=False)
    sampling: SamplingParams = SamplingParams()
    return_tokens: bool = Field(default=False, description="token ids, texts and log-probabilities are wanted")
    priority: int = Field(default=0, ge=-10, le=10, description="higher goes first")
    deadline_s: float | None = Field(
        default=None, gt=0, le=86_400, description="seconds from arrival at the engine; then it is given up"
    )
    cache_salt: str | None = Field(
        default=None,
        max_length=128,
        repr=False,
        description="beginnings of prompts are shared between requests of equal salt only; none: the common salt",
    )

    @model_validator(mode="after")
    def _prompt_xor_messages(self) -> Self:
        if bool(self.prompt) == bool(self.messages):
            raise ValueError("give either a prompt or messages")
        return self

    def rendered(self, prompt: str, sampling: SamplingParams) -> Self:
        """Return a copy that a backend can run: `prompt` as text, no messages."""
        return self.model_copy(update={"prompt": prompt, "messages": (), "sampling": sampling})
