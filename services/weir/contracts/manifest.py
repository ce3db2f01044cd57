"""A release's manifest: what is in it, where it came from, what was proven of it."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from weir.contracts.frozen import Frozen
from weir.contracts.request import MODEL_NAME

SCHEMA_VERSION: Final = 1
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Segments never begin with a dot: no hidden file, no `..`.
_PATH = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$"
Flavour = Annotated[str, Field(pattern=r"^(cpu|cuda)-[a-z0-9-]{2,24}$")]


def is_packed(flavour: str) -> bool:
    """Whether its graph is made of Weir's own operators, which must be built on a machine that runs it."""
    return flavour.startswith("cpu-packed")


def is_cuda(flavour: str) -> bool:
    """Whether its graph is made for an NVIDIA GPU."""
    return flavour.startswith("cuda-")


def is_paged(flavour: str) -> bool:
    """Whether its graph holds PagedAttention, which only onnxruntime-genai's engine feeds, on a GPU only."""
    return is_cuda(flavour) and flavour.endswith("-paged")


class FileEntry(Frozen):
    """One file of a release; `path` is relative, with `/`, and never leaves the release."""

    path: str = Field(pattern=_PATH)
    sha256: Sha256
    bytes: int = Field(ge=0)


class Lineage(Frozen):
    """Everything needed to make this release again."""

    base: str
    base_sha256: Sha256
    recipe_sha256: Sha256
    data_sha256: dict[str, Sha256] = Field(description="file name → sha256 of its bytes")
    run: str
    seed: int
    loaded_as: str = Field(default="full", description="bnb-int8, bnb-nf4: the weights bitsandbytes made of the merged")
    code_version: str
    libraries: dict[str, str]


class GoldenPrompt(Frozen):
    """A prompt as text and token ids, and the first greedy tokens of the checkpoint's answer."""

    prompt: str
    prompt_ids: tuple[int, ...]
    greedy_ids: tuple[int, ...]


class Parity(Frozen):
    """How one flavour answers compared with the fp32 checkpoint, teacher-forced, token by token through the past."""

    max_abs: float
    argmax_agreement: float = Field(ge=0, le=1)
    mean_kl: float
    nll: float
    nll_reference: float
    greedy_equal: bool = Field(description="32 greedy tokens equal on every golden prompt")
    exact_match: float | None = Field(default=None, description="on the task's trained rows; none: no task")
    exact_match_reference: float | None = None
    bytes: int
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="what it ran on while it was measured")
    measured_as: str | None = Field(
        default=None,
        description="not run: its weights are byte for byte this flavour's, whose figures these are",
    )
    lost_mass: float = Field(
        default=0.0, ge=0, le=1, description="share of an answer's probability on tokens it cannot say"
    )
    kept_tokens: int | None = Field(default=None, description="how many tokens it can say; none: all")
    heldout_cut: int | None = Field(default=None, description="tokens of held-out answers that it cannot say")
    passed: bool
    reasons: tuple[str, ...] = Field(default=(), description="which numbers failed the gate")


class Format(Frozen):
    """One exported graph.

    `golden_greedy_ids`: per golden prompt, what *this* flavour says (a quantised one may differ from the checkpoint).
    """

    flavour: Flavour
    graph: str = Field(description="path of the ONNX file inside the release")
    parity: Parity
    golden_greedy_ids: tuple[tuple[int, ...], ...]


class QuantisedEntry(Frozen):
    """The checkpoint in another number format, as NVIDIA ModelOpt writes it, for servers on GPUs."""

    format: Literal["fp8", "int4_awq"]
    path: str = Field(pattern=_PATH)
    parity: Parity


class AdapterEntry(Frozen):
    """A LoRA adapter in `adapters/<name>`.

    The figures are the worst over the packed flavours, against the checkpoint with that adapter, on the golden prompts
    and their answers.
    """

    name: str = Field(pattern=MODEL_NAME)
    rank: int = Field(ge=1)
    mean_kl: float
    argmax_agreement: float = Field(ge=0, le=1)


class ReleaseManifest(Frozen):
    """Written by export and publish, read by nodes and gateway before anything is loaded."""

    schema_version: Literal[1] = SCHEMA_VERSION
    model: str = Field(pattern=MODEL_NAME)
    version: int = Field(ge=1)
    created: datetime
    files: tuple[FileEntry, ...]
    lineage: Lineage
    prompt_mode: Literal["chat", "raw"]
    context_tokens: int = Field(ge=16, description="prompt + completion")
    vocab_size: int
    eos_ids: tuple[int, ...] = Field(min_length=1)
    tokenizer_sha256: Sha256
    chat_template_sha256: Sha256 | None
    golden: tuple[GoldenPrompt, ...] = Field(min_length=1)
    formats: tuple[Format, ...] = Field(min_length=1)
    serve_flavour: Flavour = Field(description="what a CPU node loads when nobody says otherwise")
    gate_passed: bool
    adapters: tuple[AdapterEntry, ...] = Field(default=(), description="requests choose one by name")
    quantised: tuple[QuantisedEntry, ...] = ()
    evaluation: dict[str, float] = Field(default_factory=dict, description="e.g. exact_match_trained_before")

    def format_of(self, flavour: str) -> Format | None:
        return next((f for f in self.formats if f.flavour == flavour), None)
