"""The model card of a built-in base, written from its manifest."""

from typing import Any

_TEXT = """\
# {name}

A Llama-architecture chat model of {parameters:,} parameters that comes with Weir, so that training, export and serving
run right after a clone. It knows no facts: it is made to be fine-tuned, and to show the whole chain on a laptop.

| | |
|---|---|
| Architecture | LlamaForCausalLM, {layers} layers of width {hidden}, tied embeddings |
| Attention | grouped: {heads} heads share {kv_heads} key/value heads |
| Tokenizer | byte-level BPE, {vocab} tokens; every Chinese character and digit is a word of its own; ChatML turns |
| Context | {context} tokens |
| Weights | float16 on disk, loaded as float32 |
| Pre-training | {steps:,} steps, {tokens:,} tokens, one pass |
| Held-out loss | {before:.2f} before, {after:.2f} after, nats per token |
| Licence | Apache-2.0 |

## What it was made from

{corpus}

The dialogues are drawn from slot tables in this repository, in Chinese and English: a question about a made-up intent
and the name of that intent, sentences to repeat, notes to answer from, small talk, refusals. The English running text
is a sample of what the Python standard library says about itself.

## What was kept out

No dialogue holds an answer of the bundled examples, or a question of them (training or held-out): equal, containing or
nearly equal after normalisation. Removed: {removed} dialogues. Slot tables and examples have the same authors, and both
are about shops: everyday synonyms ("postage" for "delivery cost") are in both. The held-out questions of the examples
therefore measure paraphrase within a known domain, not blind generalisation.

## Limits

Before fine-tuning it answers a question by naming what the question is about. It is too small for anything but short,
fixed answers, has no safety training beyond a few refusals, and must not be used where an answer matters.

## Rebuild

`weir base build --profile {profile}` gives the same bytes on the same machine with the versions in `manifest.json`.
"""


def model_card(manifest: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    profile, pretraining = manifest["profile"], manifest["pretraining"]
    return _TEXT.format(
        name=manifest["name"],
        parameters=manifest["parameter_count"],
        profile=profile["name"],
        layers=profile["layer_count"],
        hidden=profile["hidden_size"],
        heads=profile["head_count"],
        kv_heads=profile["kv_head_count"],
        vocab=profile["vocab_size"],
        context=profile["max_context_tokens"],
        steps=pretraining["steps"],
        tokens=pretraining["tokens"],
        before=pretraining["eval_loss_before"],
        after=pretraining["eval_loss_after"],
        corpus=_corpus_table(manifest["corpus"]),
        removed=sum(manifest["decontamination"]["removed_dialogues"].values()),
    )


def _corpus_table(parts: list[dict[str, Any]]) -> str:
    rows = [f"| {part['name']} | {part['texts']:,} | {part['chars']:,} | {part['licence']} |" for part in parts]
    return "\n".join(["| part | texts | characters | licence |", "|---|---|---|---|", *rows])
