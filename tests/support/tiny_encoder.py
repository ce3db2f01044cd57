"""A random BERT of about 70 k parameters, made on the spot, with a tokenizer that puts marks around a text."""

import json
from pathlib import Path

from weir_training.base.tokenizer import train_tokenizer

_TEXTS = (
    "How do I return an order? Open My orders and choose Return within seven days.",
    "怎么退货？签收后七天内可以无理由退货。",
    "The quick brown fox jumps over the lazy dog while seven wizards quietly mix strong potions.",
)
BEGIN, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


def make_tiny_encoder(folder: Path, *, context_tokens: int = 64, pooling: str | None = None) -> Path:
    """Write config, safetensors and tokenizer; return `folder`. `pooling`: said as sentence-transformers does."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(_TEXTS, vocab_size=400)
    ids = {mark: tokenizer.token_to_id(mark) for mark in (BEGIN, END, PAD)}
    marks = [(mark, ids[mark]) for mark in (BEGIN, END)]
    tokenizer.post_processor = TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=marks)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, cls_token=BEGIN, sep_token=END, model_max_length=context_tokens
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=400,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context_tokens,
        pad_token_id=ids[PAD],
        initializer_range=0.4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    if pooling is not None:
        (folder / "1_Pooling").mkdir(exist_ok=True)
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({pooling: True}), encoding="utf-8")
    return folder
