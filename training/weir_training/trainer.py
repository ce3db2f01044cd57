"""TRL's SFTTrainer, set up for a run: LoRA on the base, loss on the assistant's words, nothing sent anywhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from weir.contracts.errors import CheckFailedError
from weir_training.check import Prepared
from weir_training.encode import IGNORED
from weir_training.recipe import Recipe

_LOGGED_LINES = 120
_WHOLE_LOGITS_BYTES = 256 << 20


class LoraTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer without the work that a run of Weir has no use for."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean over learnt tokens.

        TRL's fused head spares memory where the logits are large; where they are small the plain way takes two
        thirds of the time.
        """
        size = inputs["input_ids"].numel() * model.get_base_model().config.get_text_config().vocab_size * 4
        if size > _WHOLE_LOGITS_BYTES or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs["use_cache"] = False
        return Trainer.compute_loss(self, model, inputs, False, num_items_in_batch)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        """Return 0: counting walks all parameters at every step, and nobody reads it."""
        return 0

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: a checkpoint is not published."""


def build_trainer(
    recipe: Recipe, prepared: Prepared, checkpoints: Path, callbacks: Sequence[TrainerCallback]
) -> LoraTrainer:
    """Return a trainer that is ready to train.

    Raises:
        CheckFailedError: what the trainer would learn is not what the check saw.
    """
    torch.set_num_threads(recipe.optim.threads)
    set_seed(recipe.seed)  # before the adapter is made: its first weights are random
    tokenizer = prepared.tokenizer
    tokenizer.chat_template = prepared.templates.training
    rows = [{"messages": r.row.messages(), "input_ids": r.ids, "labels": r.labels} for r in prepared.rows]
    trainer = LoraTrainer(
        model=load_model(prepared.base, bf16=recipe.optim.precision == "bf16"),
        args=_arguments(recipe, checkpoints, len(rows)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=_lora(recipe),
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    _check_labels(trainer, prepared.report.supervised_tokens)
    return trainer


def load_model(folder: Path, *, bf16: bool = False) -> Any:
    """Load a checkpoint from safetensors, in float32 unless told otherwise; its own code is never run."""
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.bfloat16 if bf16 else torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )


def total_steps(recipe: Recipe, rows: int) -> int:
    """How many optimiser steps the recipe comes to; an epoch's last step may hold fewer rows."""
    per_epoch = -(-rows // (recipe.optim.batch_size * recipe.optim.accumulation))
    return max(1, round(per_epoch * recipe.optim.epochs))


def _lora(recipe: Recipe) -> LoraConfig:
    method = recipe.method
    return LoraConfig(
        r=method.r,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=method.targets if isinstance(method.targets, str) else list(method.targets),
        task_type="CAUSAL_LM",
    )


def _arguments(recipe: Recipe, checkpoints: Path, rows: int) -> SFTConfig:
    optim = recipe.optim
    steps = total_steps(recipe, rows)
    return SFTConfig(
        output_dir=str(checkpoints),
        use_cpu=not torch.cuda.is_available(),  # without it bf16 is refused where there is no GPU
        seed=recipe.seed,
        max_steps=steps,
        per_device_train_batch_size=optim.batch_size,
        gradient_accumulation_steps=optim.accumulation,
        learning_rate=optim.lr,
        lr_scheduler_type=optim.scheduler if optim.scheduler != "constant" else "constant_with_warmup",
        warmup_steps=round(steps * optim.warmup_ratio),
        weight_decay=optim.weight_decay,
        max_grad_norm=optim.max_grad_norm,
        bf16=optim.precision == "bf16",
        gradient_checkpointing=optim.gradient_checkpointing,
        assistant_only_loss=True,
        max_length=None,  # the check has dropped or refused what does not fit
        save_strategy="steps",
        save_steps=recipe.checkpoint.every,
        save_total_limit=None,  # `resume.complete` removes old ones, once the new one counts
        logging_steps=max(1, steps // _LOGGED_LINES),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )


def _check_labels(trainer: LoraTrainer, supervised_tokens: int) -> None:
    """What the trainer holds after its own preparation must be what the check counted."""
    held = sum(label != IGNORED for row in trainer.train_dataset["labels"] for label in row)
    if held != supervised_tokens:
        raise CheckFailedError(f"the trainer would learn {held} tokens, the check counted {supervised_tokens}")
