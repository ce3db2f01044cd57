"""Pre-training of a built-in base: one pass over the texts, one thread, the same result every time."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from weir_training.base.profiles import Profile
from weir_training.base.tokenizer import END_OF_TEXT_ID, PAD_ID, TURN_END_ID, TURN_START_ID

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

Progress = Callable[[int, int], None]  # steps done, steps in all

_PAD_LABEL = -100
_BUCKET_EXAMPLES = 2_048  # examples sorted by length together
_FINAL_RATE_SHARE = 0.05
_READ_WEIGHT = 0.3  # of what users, notes and documents say, against 1 for the assistant's words


@dataclass(frozen=True, slots=True)
class PretrainReport:
    """What the manifest says about a run; losses are mean negative log-likelihoods per token of the held-out texts."""

    steps: int
    tokens: int
    eval_examples: int
    eval_loss_before: float
    eval_loss_after: float


def create_model(profile: Profile, *, vocab_size: int) -> "LlamaForCausalLM":
    """Return a randomly initialised model; seeds torch's global generator."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    set_seed(profile.seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=profile.hidden_size,
        intermediate_size=profile.intermediate_size,
        num_hidden_layers=profile.layer_count,
        num_attention_heads=profile.head_count,
        num_key_value_heads=profile.kv_head_count,
        head_dim=profile.hidden_size // profile.head_count,
        max_position_embeddings=profile.max_context_tokens,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        eos_token_id=TURN_END_ID,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.pad_token_id = PAD_ID
    model.generation_config.eos_token_id = [TURN_END_ID, END_OF_TEXT_ID]
    return model


def pretrain(
    model: "LlamaForCausalLM",
    examples: Sequence[Sequence[int]],
    profile: Profile,
    *,
    assistant_id: int,
    on_progress: Progress,
) -> PretrainReport:
    """Train `model` in place on token lists, each seen once, all but the 2 % held out for the eval loss."""
    with _one_thread():
        held_out, training = examples[::50], [ids for at, ids in enumerate(examples) if at % 50]
        before = eval_loss(model, held_out, profile.batch_tokens)
        batches = list(batched(training, profile.batch_tokens, seed=profile.seed))
        tokens = _train(model, batches, profile, assistant_id, on_progress)
        after = eval_loss(model, held_out, profile.batch_tokens)
    return PretrainReport(len(batches), tokens, len(held_out), round(before, 4), round(after, 4))


def _train(
    model: Any, batches: list[list[Sequence[int]]], profile: Profile, assistant_id: int, on_progress: Progress
) -> int:
    import torch

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=profile.peak_learning_rate, betas=(0.9, 0.95), weight_decay=0.1
    )
    model.train()
    tokens = 0
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(batches), profile)
        input_ids, _ = padded(batch)
        torch.autograd.backward(weighted_loss(model(input_ids=input_ids).logits, input_ids, assistant_id))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += sum(map(len, batch))
        on_progress(step + 1, len(batches))
    model.eval()
    return tokens


def weighted_loss(logits: "torch.Tensor", input_ids: "torch.Tensor", assistant_id: int) -> "torch.Tensor":
    """Return the mean loss of shape (), in which what the assistant says counts for more than what it reads.

    Args:
        logits: shape (examples, longest, vocabulary).
        input_ids: int64 of shape (examples, longest), padded on the right.
        assistant_id: the first token of the word "assistant" in a turn's head.
    """
    import torch

    targets = input_ids[:, 1:]
    weights = torch.where(assistant_mask(input_ids, assistant_id)[:, 1:], 1.0, _READ_WEIGHT) * (targets != PAD_ID)
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def assistant_mask(ids: "torch.Tensor", assistant_id: int) -> "torch.Tensor":
    """Return a bool tensor of the same shape (examples, tokens): True in the assistant's turns."""
    import torch

    at = torch.arange(ids.shape[1]).expand_as(ids)
    turn_starts = ids == TURN_START_ID
    named = torch.zeros_like(turn_starts)
    named[:, 1:] = turn_starts[:, :-1] & (ids[:, 1:] == assistant_id)
    latest_start = torch.where(turn_starts, at, -1).cummax(dim=1).values
    latest_name = torch.where(named, at, -1).cummax(dim=1).values
    return latest_name > latest_start


def learning_rate(step: int, steps: int, profile: Profile) -> float:
    """Linear warm-up, then a cosine down to a twentieth of the peak."""
    warmup = min(1.0, (step + 1) / profile.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return profile.peak_learning_rate * warmup * (_FINAL_RATE_SHARE + (1 - _FINAL_RATE_SHARE) * cosine)


def batched(examples: Sequence[Sequence[int]], batch_tokens: int, *, seed: int) -> Iterator[list[Sequence[int]]]:
    """Yield batches of examples of about the same length, at most `batch_tokens` with padding, in random order."""
    rng = Random(seed)  # noqa: S311 - reproducible, not secret
    shuffled = rng.sample(list(examples), len(examples))
    batches: list[list[Sequence[int]]] = []
    for start in range(0, len(shuffled), _BUCKET_EXAMPLES):
        bucket = sorted(shuffled[start : start + _BUCKET_EXAMPLES], key=len)
        cut = list(_cut(bucket, batch_tokens))
        rng.shuffle(cut)
        batches += cut
    yield from batches


def _cut(bucket: list[Sequence[int]], batch_tokens: int) -> Iterator[list[Sequence[int]]]:
    batch: list[Sequence[int]] = []
    for example in bucket:  # sorted by length, so the newest is the longest
        if batch and len(example) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def padded(batch: list[Sequence[int]]) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return input ids and labels, both int64 of shape (examples, longest).

    Padding stands on the right, where causal attention never looks back from a real token: no mask is needed.
    """
    import torch

    longest = max(map(len, batch))
    input_ids = torch.tensor([[*ids, *[PAD_ID] * (longest - len(ids))] for ids in batch])
    return input_ids, input_ids.masked_fill(input_ids == PAD_ID, _PAD_LABEL)


def eval_loss(model: Any, examples: Sequence[Sequence[int]], batch_tokens: int) -> float:
    """Return the mean negative log-likelihood per predicted token, in nats."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in _cut(sorted(examples, key=len), batch_tokens):
            input_ids, labels = padded(batch)
            predicted = sum(len(ids) - 1 for ids in batch)
            total += model(input_ids=input_ids, labels=labels).loss.item() * predicted
            count += predicted
    return total / count


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order only: with more threads the last digits, and so the hashes, may differ."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(mode=deterministic)
