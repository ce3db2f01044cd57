"""Checkpoints with the shape of a known model and random weights: speed does not depend on what the weights say."""

from pathlib import Path
from typing import Any, Final

from weir_training.atomic import new_folder
from weir_training.benching.word_tokenizer import END_ID, save_word_tokenizer

CONTEXT_TOKENS: Final = 2048
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "smollm2-135m": {
        "model_type": "llama",
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
}


def checkpoint_of(shape: str, folder: Path) -> Path:
    """Return the checkpoint at `folder`; make it first where it is not there. The same shape gives the same bytes."""
    if not folder.is_dir():
        with new_folder(folder) as made:
            _make(SHAPES[shape], made)
    return folder


def _make(values: dict[str, Any], folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    rest = {name: value for name, value in values.items() if name != "model_type"}
    config = AutoConfig.for_model(
        values["model_type"], **rest, tie_word_embeddings=True, max_position_embeddings=CONTEXT_TOKENS,
        bos_token_id=END_ID, eos_token_id=END_ID, pad_token_id=END_ID,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder, safe_serialization=True)
    save_word_tokenizer(folder, values["vocab_size"])
