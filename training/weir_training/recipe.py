"""The recipe: one strict YAML that says everything about a release. Code never asks which model it is."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from weir.contracts.errors import UsageError
from weir.contracts.request import MODEL_NAME
from weir_training.strict import Strict, load_yaml, parse

Share = Annotated[float, Field(ge=0.0, le=1.0)]
DEFAULT_GUARD = "default"  # the policy that comes with Weir
RECIPES = Path(__file__).resolve().parent / "recipes"
if not RECIPES.is_dir():  # a checkout: training/recipes beside the package
    RECIPES = Path(__file__).resolve().parent.parent / "recipes"


class ModelPart(Strict):
    """What to start from: `builtin:NAME`, a folder, or a hub id."""

    base: str = "builtin:tiny-chat"
    revision: str | None = None
    chat_template: str = Field(default="keep", description="`keep`, or a .jinja file")


class DataPart(Strict):
    """JSONL files: messages, prompt/completion or text/label, told apart by their keys."""

    train: tuple[str, ...] = Field(min_length=1)
    heldout: str | None = Field(default=None, description="never trained on; only measured")
    max_length: int = Field(default=256, ge=16, le=131_072, description="tokens")
    truncation: Literal["error", "drop"] = "error"
    guard: str | None = Field(default=None, description="the gateway's guard policy: a file, or `default`")
    guarded: Literal["error", "drop"] = Field(default="error", description="what to do with rows that it refuses")


class MethodPart(Strict):
    """LoRA (Hu et al. 2021). `article` is the first source article's setting."""

    preset: Literal["default", "article"] = "default"
    r: int = Field(default=16, ge=1, le=1024)
    alpha: int = Field(default=32, ge=1)
    dropout: Share = 0.05
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"

    @model_validator(mode="before")
    @classmethod
    def _article(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("preset") == "article":
            fixed = {"r": 16, "alpha": 32, "dropout": 0.1, "targets": ("q_proj", "v_proj")}
            clash = [key for key in fixed if key in values and values[key] != fixed[key]]
            if clash:
                raise ValueError(f"preset 'article' fixes {', '.join(clash)}: leave the preset or the key out")
            return {**values, **fixed}
        return values


class OptimPart(Strict):
    """AdamW with warm-up and a schedule. `batch_size` x `accumulation` rows make one step."""

    lr: float = Field(default=2.0e-4, gt=0.0, le=1.0)
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Share = 0.05
    weight_decay: float = Field(default=0.0, ge=0.0)
    batch_size: int = Field(default=8, ge=1)
    accumulation: int = Field(default=1, ge=1)
    epochs: float = Field(default=3.0, gt=0.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = Field(default=2, ge=1, le=256, description="torch threads; part of the run's identity")
    gradient_checkpointing: bool = False


class CheckpointPart(Strict):
    """Saved every `every` steps, so that an interrupted run goes on where it was."""

    every: int = Field(default=50, ge=1, description="steps")
    keep: int = Field(default=2, ge=1)


class EvaluatePart(Strict):
    max_new_tokens: int = Field(default=64, ge=1)


class GatePart(Strict):
    """Limits for quantised flavours, against the fp32 checkpoint."""

    kl: float = Field(default=0.01, gt=0.0)
    argmax: Share = 0.95
    nll_rise: float = Field(default=0.05, ge=0.0, description="nats per token")
    exact_match_drop: Share = 0.02


class Int4GatePart(GatePart):
    """Four bits may differ a little more."""

    kl: float = Field(default=0.03, gt=0.0)
    argmax: Share = 0.93


class Fp16GatePart(GatePart):
    """Sixteen bits are the same weights, rounded once."""

    kl: float = Field(default=0.001, gt=0.0)
    argmax: Share = 0.98
    nll_rise: float = Field(default=0.01, ge=0.0, description="nats per token")


Language = Literal[
    "ar", "de", "el", "en", "es", "fr", "he", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "vi", "zh"
]


class VocabularyPart(Strict):
    """Which tokens the output layer of packed flavours keeps (`weir_training.vocabulary`); prompts may hold any."""

    keep: Literal["whole", "data"] = "whole"
    languages: tuple[Language, ...] = Field(default=(), description="beside the data's tokens, all of these scripts")
    rank_below: int | None = Field(default=None, ge=1, description="of the languages, only ids below this")

    @model_validator(mode="after")
    def _only_with_data(self) -> Self:
        if self.keep == "whole" and (self.languages or self.rank_below):
            raise ValueError("languages and rank_below cut a vocabulary: they need keep: data")
        return self


Flavour = Literal[
    "cpu-fp32",
    "cpu-w8a8",
    "cpu-int8",
    "cpu-int4",
    "cpu-packed8",
    "cpu-packed4",
    "cuda-fp16",
    "cuda-int4",
    "cuda-int4-paged",
]
GPU_FLAVOURS: tuple[Flavour, ...] = ("cuda-fp16", "cuda-int4", "cuda-int4-paged")


class ExportPart(Strict):
    """Flavours to build. fp32 is always built: it is the reference."""

    flavours: tuple[Flavour, ...] = (
        "cpu-fp32",
        "cpu-int8",
        "cpu-int4",
        "cpu-packed8",
        "cpu-packed4",
    )
    gpu: bool = Field(
        default=False,
        description="also cuda-fp16, cuda-int4 and cuda-int4-paged; building and measuring them needs no GPU",
    )
    loaded_as: Literal["full", "bnb-int8", "bnb-nf4"] = Field(
        default="full", description="export the weights that bitsandbytes makes of the merged checkpoint"
    )
    block_size: Literal[32, 128] = 32
    vocabulary: VocabularyPart = VocabularyPart()
    rounding: Literal["gptq", "nearest"] = Field(default="gptq", description="of cpu-packed4's weights")
    fp32_max_abs: float = Field(default=1e-4, gt=0.0)
    greedy_tokens: int = Field(default=32, ge=1)
    golden_prompts: int = Field(default=3, ge=1, le=16)
    drafts: bool = Field(
        default=True, description="put the trained answers into the release, for its engine to guess from"
    )
    w8a8: GatePart = GatePart()
    int8: GatePart = GatePart()
    int4: Int4GatePart = Int4GatePart()
    fp16: Fp16GatePart = Fp16GatePart()
    fp8: GatePart = GatePart()

    @model_validator(mode="after")
    def _fp32_first(self) -> Self:
        if "cpu-fp32" not in self.flavours:
            raise ValueError("flavours must hold cpu-fp32: the others are judged against it")
        if "cuda-int4-paged" in self.all_flavours and "cuda-int4" not in self.all_flavours:
            raise ValueError("cuda-int4-paged needs cuda-int4: it is proven by that flavour's figures")
        return self

    @property
    def all_flavours(self) -> tuple[Flavour, ...]:
        """`flavours`, and with `gpu` those for GPUs."""
        return tuple(dict.fromkeys((*self.flavours, *(GPU_FLAVOURS if self.gpu else ()))))


class Recipe(Strict):
    """See training/recipes/faq.yaml. Relative paths are relative to the recipe's own folder."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=MODEL_NAME, description="name of the model that is published")
    seed: int = Field(default=42, ge=0, lt=2**32)
    model: ModelPart = ModelPart()
    data: DataPart
    method: MethodPart = MethodPart()
    optim: OptimPart = OptimPart()
    checkpoint: CheckpointPart = CheckpointPart()
    evaluate: EvaluatePart = EvaluatePart()
    export: ExportPart = ExportPart()

    def digest(self, *parts: str) -> str:
        """SHA-256 of the named top-level parts (all, when none is named), independent of key order."""
        tree = self.model_dump(mode="json", include=set(parts) or None)
        return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe; apply `a.b=value` overrides; make its data paths absolute.

    Raises:
        UsageError: every fault, each with its place.
    """
    tree = load_yaml(path)
    for override in overrides:
        _set(tree, override)
    recipe = parse(Recipe, tree, source=str(path))
    return _absolute(recipe, path.resolve().parent)


def named_recipe(name: str) -> Path:
    """Return the path of a shipped recipe, e.g. `faq`, or of the file that `name` is."""
    shipped = RECIPES / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    path = Path(name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise UsageError(f"{name}: no such recipe (shipped ones: {known}; or give a YAML file)")
    return path


def dump_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML that `load_recipe` reads back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _set(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise UsageError(f"--set {override}: expected a.b=value")
    *parents, last = key.split(".")
    for part in parents:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise UsageError(f"--set {override}: {part} is not a section")
    try:
        tree[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {override}: {value!r} is not a YAML value") from error


def _absolute(recipe: Recipe, folder: Path) -> Recipe:
    def at(name: str) -> str:
        return str((folder / Path(name).expanduser()).resolve())

    data = recipe.data.model_copy(
        update={
            "train": tuple(at(p) for p in recipe.data.train),
            "heldout": None if recipe.data.heldout is None else at(recipe.data.heldout),
            "guard": recipe.data.guard if recipe.data.guard in {None, DEFAULT_GUARD} else at(str(recipe.data.guard)),
        }
    )
    template = recipe.model.chat_template
    base = recipe.model.base
    changes = {
        "chat_template": template if template == "keep" else at(template),
        "base": at(base) if base.startswith((".", "~")) else base,  # anything else is a hub id or already whole
    }
    return recipe.model_copy(update={"data": data, "model": recipe.model.model_copy(update=changes)})
