"""A random LoRA adapter in PEFT's own files."""

from collections.abc import Sequence
from pathlib import Path

from weir_training.quiet import quiet_libraries


def make_adapter(checkpoint: Path, folder: Path, *, rank: int, targets: str | Sequence[str], seed: int = 0) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    modules = targets if isinstance(targets, str) else list(targets)
    config = LoraConfig(r=rank, lora_alpha=6, target_modules=modules, init_lora_weights=False)
    with quiet_libraries():
        get_peft_model(model, config).save_pretrained(folder)
    return folder
