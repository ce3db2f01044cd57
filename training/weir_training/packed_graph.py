"""The `cpu-packed8` and `cpu-packed4` flavours: a decoder as a graph over the packed tokens of many sequences.

A layer is five operators of domain `weir` (services/weir/engine/kernels): qkv product, attention, output product, gated
product, down product; norms, biases and residual sums are part of the products. Inputs:

    input_ids  int64   [tokens]                          all sequences of a step, one after another
    cache      float16 [blocks, layers, 2, kv_heads, 16 * head_size]   read and written in place
    sequences  int32   [rows, 3]                         first token, tokens, positions before them
    table      int32   [rows, width]                     blocks of each sequence, in order
    wanted     int32   [outputs]                         tokens whose logits are wanted
    wants      int32   [outputs]                         0: the likeliest alone; 1: candidates and log-sum-exp too
    adapters   float32 [adapters, rank * total]          LoRA weights, laid out by `weir.engine.adapters`; may be empty
    adapter_of int32   [tokens]                          a row of `adapters` for each token, or -1

Outputs: `logits` [outputs, vocabulary], `ids` and `values` [outputs, candidates], `logsumexp` [outputs].

A graph may have output rows for some tokens only: `ids` and the columns of `logits` then number these, and its metadata
says which they are (`weir.engine.output_tokens`). The embedding stays whole, and a tied one is packed twice.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from weir.contracts.errors import JobError
from weir.engine import output_tokens
from weir.engine.adapters import ADAPTED
from weir_training.moments import Calibration, Moments
from weir_training.packing import Packed, gated, pack4, pack8, padded

DOMAIN: Final = "weir"
CANDIDATES: Final = 128
_FAMILIES: Final = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_ROPES: Final = frozenset({"default", "linear", "llama3", "yarn"})
_MOST_POSITIONS: Final = 131_072
_BLOCK: Final = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """What a graph is made from; see the checkpoint's config.json."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    epsilon: float
    tied: bool


def build_packed(
    checkpoint: Path,
    folder: Path,
    *,
    bits: int,
    block: int,
    kept: Sequence[int] | None = None,
    calibration: Calibration | None = None,
) -> None:
    """Write `model.onnx` with its data into `folder`.

    Args:
        checkpoint: config.json and float32 safetensors.
        folder: exists.
        bits: of the layers' weights, 8 or 4; embedding and output layer have 8.
        block: weights that share a scale when bits is 4; lowered where it does not divide a matrix.
        kept: tokens with an output row, ascending; None: all.
        calibration: what 4-bit weights are rounded for (see `weir_training.packing`); None: each by itself.

    Raises:
        JobError: an architecture that this graph does not express; the message says what.
    """
    config = _config(checkpoint)
    shape = _shape(config)
    with _Weights(checkpoint) as weights:
        graph = _Graph(shape, bits=bits, block=block, kept=kept)
        cosine, sine = _rotary(config)
        graph.constant("cosine", cosine)
        graph.constant("sine", sine)
        graph.embed(weights)
        moments = Moments(checkpoint, calibration) if calibration and bits == 4 else None
        for layer in range(shape.layers):
            graph.layer(weights, layer, moments.of(layer) if moments else {})
        graph.head(weights)
    onnx.save(graph.model(), str(folder / "model.onnx"), save_as_external_data=True, location="model.onnx.data")


def unsupported(checkpoint: Path) -> str | None:
    """Return why this checkpoint has no packed flavour; None: it has."""
    try:
        _shape(_config(checkpoint))
    except JobError as error:
        return str(error)
    return None


def _config(checkpoint: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(checkpoint, trust_remote_code=False, local_files_only=True)


def _shape(config: Any) -> Shape:
    if config.model_type not in _FAMILIES:
        raise _uncovered(f"model type {config.model_type}")
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    windowed = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    mixed = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    faults = [
        (config.hidden_act != "silu", f"activation {config.hidden_act}"),
        (bool(windowed) or mixed, "sliding-window attention"),
        (head_size % 16 or head_size > 256, f"head size {head_size}"),
        (config.hidden_size % 32 or config.intermediate_size % 32, "matrix sizes that are no multiple of 32"),
        (_rope_type(config) not in _ROPES, f"rotary embedding {_rope_type(config)}"),
        (getattr(config, "mlp_bias", False), "biases in the feed-forward layers"),
    ]
    if found := [words for fault, words in faults if fault]:
        raise _uncovered(", ".join(found))
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_size=head_size,
        vocabulary=config.vocab_size,
        epsilon=config.rms_norm_eps,
        tied=bool(config.tie_word_embeddings),
    )


def _uncovered(what: str) -> JobError:
    return JobError(f"packed flavours do not cover {what}; cpu-int8 and cpu-int4 do")


def _rope_type(config: Any) -> str:
    return str((config.rope_parameters or {}).get("rope_type", "default"))


def _rotary(config: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cosines and sines, each of shape (positions, head_size / 2), as the checkpoint's own model has them."""
    import torch
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    positions = torch.arange(min(config.max_position_embeddings, _MOST_POSITIONS))[None]
    cosine, sine = LlamaRotaryEmbedding(config)(torch.zeros(1), positions)
    half = cosine.shape[-1] // 2
    return cosine[0, :, :half].numpy().astype(np.float32), sine[0, :, :half].numpy().astype(np.float32)


class _Weights:
    """Named tensors of a checkpoint in one or many safetensors files, read one by one."""

    def __init__(self, checkpoint: Path) -> None:
        self._folder = checkpoint
        index = checkpoint / "model.safetensors.index.json"
        self._places: dict[str, str] = json.loads(index.read_text())["weight_map"] if index.is_file() else {}
        self._open: dict[str, Any] = {}

    def __enter__(self) -> "_Weights":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.clear()

    def get(self, name: str) -> NDArray[np.float32]:
        return np.asarray(self._file(name).get_tensor(name), np.float32)

    def find(self, name: str) -> NDArray[np.float32] | None:
        return self.get(name) if name in self._file(name).keys() else None  # noqa: SIM118 - not a dict

    def _file(self, name: str) -> Any:
        from safetensors import safe_open

        place = self._places.get(name, "model.safetensors" if not self._places else next(iter(self._places.values())))
        if place not in self._open:
            self._open[place] = safe_open(str(self._folder / place), framework="np")
        return self._open[place]


@dataclass(slots=True)
class _Graph:
    shape: Shape
    bits: int
    block: int
    kept: Sequence[int] | None
    _adapted: list[dict[str, Any]] = field(default_factory=list)
    _nodes: list[Any] = field(default_factory=list)
    _constants: list[Any] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def embed(self, weights: _Weights) -> None:
        packed = pack8(weights.get("model.embed_tokens.weight"))
        inputs = ["input_ids", *self._packed("embedding", packed)]
        self._add("Embedding", inputs, "h0", size=self.shape.hidden)

    def layer(self, weights: _Weights, number: int, moments: Mapping[str, NDArray[np.float32]]) -> None:
        at, attn, mlp = f"model.layers.{number}.", f"model.layers.{number}.self_attn.", f"model.layers.{number}.mlp."
        before, between, after = f"h{number}", f"h{number}/attended", f"h{number + 1}"
        qkv = np.concatenate([weights.get(f"{attn}{part}_proj.weight") for part in "qkv"])
        bias = self._joined_bias(weights, attn)
        norm = weights.get(f"{at}input_layernorm.weight")
        read = moments.get("qkv")
        self._product(f"l{number}/qkv", before, qkv, f"l{number}/qkv/y", bias=bias, norm=norm, moment=read)
        self._adapt(f"l{number}/qkv/y", attn, {f"{part}_proj": self._width_of(part) for part in "qkv"}, qkv)
        self._attention(weights, number)
        o, o_bias = weights.get(f"{attn}o_proj.weight"), weights.find(f"{attn}o_proj.bias")
        read = moments.get("o")
        self._product(f"l{number}/o", f"l{number}/attention/y", o, between, bias=o_bias, residual=before, moment=read)
        self._adapt(between, attn, {"o_proj": len(o)}, o)
        both = gated(weights.get(f"{mlp}gate_proj.weight"), weights.get(f"{mlp}up_proj.weight"))
        norm = weights.get(f"{at}post_attention_layernorm.weight")
        read = moments.get("up")
        self._product(f"l{number}/up", between, both, f"l{number}/up/y", norm=norm, is_gated=True, moment=read)
        half = len(both) // 2
        self._adapt(f"l{number}/up/y", mlp, {"gate_proj": half, "up_proj": half}, both, is_gated=True)
        down = weights.get(f"{mlp}down_proj.weight")
        read = moments.get("down")
        self._product(f"l{number}/down", f"l{number}/up/y", down, after, residual=between, moment=read)
        self._adapt(after, mlp, {"down_proj": len(down)}, down)

    def head(self, weights: _Weights) -> None:
        last = f"h{self.shape.layers}"
        self._add("Rows", [last, "wanted"], "last")
        norm = self.constant("norm", weights.get("model.norm.weight"))
        attributes = {"width": self._outputs, "bits": 8, "epsilon": self.shape.epsilon}
        self._add("Product", ["last", *self._head_weights(weights), "", norm], "logits", **attributes)
        count = min(CANDIDATES, self._outputs)
        self._nodes.append(
            helper.make_node(
                "Top", ["logits", "wants"], ["ids", "values", "logsumexp"], name="top", domain=DOMAIN, count=count
            )
        )

    def model(self) -> Any:
        s = self.shape
        number, half = TensorProto.INT32, TensorProto.FLOAT16
        info = helper.make_tensor_value_info
        cache = ["blocks", s.layers, 2, s.kv_heads, _BLOCK * s.head_size]
        inputs = [
            info("input_ids", TensorProto.INT64, ["tokens"]),
            info("cache", half, cache),
            info("sequences", number, ["rows", 3]),
            info("table", number, ["rows", "width"]),
            info("wanted", number, ["outputs"]),
            info("wants", number, ["outputs"]),
            info("adapters", TensorProto.FLOAT, ["adapters", "adapter_values"]),
            info("adapter_of", number, ["tokens"]),
        ]
        count = min(CANDIDATES, self._outputs)
        outputs = [
            info("logits", TensorProto.FLOAT, ["outputs", self._outputs]),
            info("ids", number, ["outputs", count]),
            info("values", TensorProto.FLOAT, ["outputs", count]),
            info("logsumexp", TensorProto.FLOAT, ["outputs"]),
        ]
        graph = helper.make_graph(self._nodes, "packed", inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
        self._place_adapters(graph)
        made = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="weir")
        words = {ADAPTED: json.dumps(self._adapted)}
        if self.kept is not None:
            words |= output_tokens.written(self.kept, s.vocabulary)
        helper.set_model_props(made, words)
        return made

    @property
    def _outputs(self) -> int:
        return self.shape.vocabulary if self.kept is None else len(self.kept)

    def _head_weights(self, weights: _Weights) -> list[str]:
        if self.shape.tied and self.kept is None:
            return ["embedding/weights", "embedding/scales"]
        weight = weights.get("model.embed_tokens.weight" if self.shape.tied else "lm_head.weight")
        return self._packed("head", pack8(weight if self.kept is None else weight[np.asarray(self.kept)]))

    def _place_adapters(self, graph: Any) -> None:
        """Tell every product where its part of an adapter begins, and how long the whole is, per unit of rank."""
        starts, total = {}, 0
        for part in self._adapted:
            starts[part["product"]] = total, len(part["modules"])
            total += len(part["modules"]) * (part["inner"] + part["columns"])
        for node in graph.node:
            if node.name in starts:
                at, parts = starts[node.name]
                attributes = {"adapter_at": at, "adapter_total": total, "adapter_parts": parts}
                node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())

    def _attention(self, weights: _Weights, number: int) -> None:
        s = self.shape
        inputs = [f"l{number}/qkv/y", "cache", "sequences", "table", "cosine", "sine"]
        for part in ("q", "k"):
            norm = weights.find(f"model.layers.{number}.self_attn.{part}_norm.weight")
            inputs.append("" if norm is None else self.constant(f"l{number}/{part}_norm", norm))
        attributes = {"layer": number, "heads": s.heads, "kv_heads": s.kv_heads, "size": s.head_size}
        scale = s.head_size**-0.5
        self._add("Attention", inputs, f"l{number}/attention/y", scale=scale, epsilon=s.epsilon, **attributes)

    def _width_of(self, part: str) -> int:
        return (self.shape.heads if part == "q" else self.shape.kv_heads) * self.shape.head_size

    def _adapt(
        self, product: str, at: str, widths: dict[str, int], weight: NDArray[np.float32], *, is_gated: bool = False
    ) -> None:
        """Note which modules a product stands for; `product` is the node's name."""
        self._adapted.append(
            {
                "product": product,
                "modules": {f"{at}{name}": width for name, width in widths.items()},
                "inner": weight.shape[1],
                "columns": len(padded(weight[:, :1])),
                "gated": is_gated,
            }
        )

    def _joined_bias(self, weights: _Weights, attn: str) -> NDArray[np.float32] | None:
        found = [weights.find(f"{attn}{part}_proj.bias") for part in "qkv"]
        known = [bias for bias in found if bias is not None]
        return np.concatenate(known) if len(known) == len(found) else None

    def _product(  # noqa: PLR0913 - the operator's own optional inputs
        self,
        name: str,
        x: str,
        weight: NDArray[np.float32],
        y: str,
        *,
        bias: NDArray[np.float32] | None = None,
        norm: NDArray[np.float32] | None = None,
        residual: str = "",
        is_gated: bool = False,
        moment: NDArray[np.float32] | None = None,
    ) -> None:
        width = len(weight) // 2 if is_gated else len(weight)
        group = _group(weight.shape[1], self.block)
        packed = pack8(weight) if self.bits == 8 else pack4(weight, group, moment)
        inputs = [x, *self._packed(name, packed)]
        inputs.append("" if bias is None else self.constant(f"{name}/bias", padded(bias[:, None])[:, 0]))
        inputs.append("" if norm is None else self.constant(f"{name}/norm", norm))
        inputs += [residual, "adapters", "adapter_of"]
        attributes = {"bits": self.bits, "group": packed.group, "gated": int(is_gated), "epsilon": self.shape.epsilon}
        self._add("Product", inputs, y, width=width, **attributes)

    def _packed(self, name: str, packed: Packed) -> list[str]:
        return [self.constant(f"{name}/weights", packed.weights), self.constant(f"{name}/scales", packed.scales)]

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        node = helper.make_node(operator, inputs, [output], name=output, domain=DOMAIN, **attributes)
        self._nodes.append(node)


def _group(inner: int, wanted: int) -> int:
    """The largest multiple of 32 up to `wanted` that divides `inner`."""
    return next(size for size in range(wanted, 0, -32) if inner % size == 0)
