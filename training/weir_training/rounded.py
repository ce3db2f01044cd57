"""Checkpoints as bitsandbytes loads them, in 8 or 4 bits: opened, or written out as the weights they stand for."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from weir.contracts.errors import JobError
from weir_training.atomic import new_folder
from weir_training.quiet import quiet_libraries

if TYPE_CHECKING:
    import torch

_WEIGHTS: Final = frozenset({".safetensors", ".bin", ".pt"})
_INT8_RANGE: Final = 127.0


def load_rounded(folder: Path, kind: str) -> Any:
    """Return the checkpoint with its products rounded by bitsandbytes: `bnb-int8` (LLM.int8) or `bnb-nf4`.

    It computes in float32, on the CPU or the GPU that is there.

    On a CPU with AVX512-BF16, bitsandbytes 0.50 repacks 4-bit weights the first time they are used without gradients;
    from then on its kernel gives none, and a LoRA adapter trained on them stops learning with no more than a warning.
    That path is switched off here.

    Raises:
        JobError: bitsandbytes is not installed.
    """
    import torch

    try:
        import bitsandbytes as bnb
    except ModuleNotFoundError as error:
        raise JobError(f"{kind} needs bitsandbytes: pip install 'weir[bnb]'") from error
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if kind == "bnb-int8":
        asked = BitsAndBytesConfig(load_in_8bit=True)
    else:
        asked = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
    with quiet_libraries():
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            quantization_config=asked,
            device_map="cuda" if torch.cuda.is_available() else "cpu",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def write_rounded(source: Path, target: Path, kind: str) -> None:
    """Write `target`: the checkpoint at `source` with every product's weights as `load_rounded` has them, in float32.

    Raises:
        JobError: bitsandbytes is not installed, or it rounded nothing.
    """
    from weir_training.trainer import load_model

    rounded = _weights(load_rounded(source, kind))
    if not rounded:
        raise JobError(f"{source.name}: bitsandbytes found nothing to round in it")
    model = load_model(source)
    for name, weight in rounded.items():
        model.get_submodule(name).weight.data.copy_(weight)
    with new_folder(target) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        for path in source.iterdir():  # config.json too: it holds rope settings for older readers
            if path.is_file() and path.suffix not in _WEIGHTS and not path.name.endswith(".index.json"):
                shutil.copyfile(path, folder / path.name)


def _weights(model: Any) -> "dict[str, torch.Tensor]":
    import bitsandbytes as bnb

    found: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        weight: Any = getattr(module, "weight", None)
        if isinstance(module, bnb.nn.Linear4bit):
            found[name] = bnb.functional.dequantize_4bit(weight.data, weight.quant_state).float().cpu()
        elif isinstance(module, bnb.nn.Linear8bitLt):
            scales = weight.SCB if weight.SCB is not None else module.state.SCB
            found[name] = (weight.data.float() * scales.float()[:, None] / _INT8_RANGE).cpu()
    return found
