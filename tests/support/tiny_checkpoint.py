"""A random Llama checkpoint of about 100 k parameters, made on the spot: what every contract test runs on."""

import random
from pathlib import Path

from weir_training.base.tokenizer import END_OF_TEXT_ID, PAD_ID, TURN_END_ID, save_tokenizer, train_tokenizer

_TEXTS = (
    "How do I return an order? Open My orders and choose Return within seven days.",
    "When will it arrive? In two or three working days.",
    "怎么退货？签收后七天内可以无理由退货。",
    "快递几天能到？一般两到三天。",
    "Please tell me what the capital of France is, and who wrote the book on the table.",
    "The quick brown fox jumps over the lazy dog while seven wizards quietly mix strong potions.",
)


def make_tiny_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    vocab_size: int = 400,
    context_tokens: int = 512,
    tied: bool = True,
    layers: int = 2,
    initializer_range: float = 0.02,
) -> Path:
    """Write config, safetensors, tokenizer and a ChatML template with generation marks; return `folder`.

    Hidden 64, two heads of 32 over one KV head (ONNX Runtime's GQA wants a head size that is a multiple of 16),
    float32. The same arguments give the same bytes. The caller's random state is left as it was. With tied embeddings
    the logits cannot grow beyond what `initializer_range` allows: 0.2 is enough to learn a few answers by LoRA.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(train_tokenizer(_TEXTS, vocab_size=vocab_size), folder, max_context_tokens=context_tokens)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=context_tokens,
        tie_word_embeddings=tied,
        initializer_range=initializer_range,
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=TURN_END_ID,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = [TURN_END_ID, END_OF_TEXT_ID]
    model.save_pretrained(folder)
    return folder


def faq_rows(count: int, *, seed: int = 0) -> list[dict[str, list[dict[str, str]]]]:
    """Return `count` different question/answer rows in the `messages` form."""
    dice = random.Random(seed)
    rows = []
    for number in range(count):
        answer = f"{dice.choice(('A', 'B', 'C'))}{number % 7}"
        question = f"Question {number}?"
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows.append({"messages": turns})
    return rows
