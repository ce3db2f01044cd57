"""The fp32 checkpoint in torch: what every exported graph is compared with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weir.contracts.errors import JobError
from weir_training.encode import load_tokenizer
from weir_training.quiet import quiet_libraries
from weir_training.resolve import eos_ids

if TYPE_CHECKING:
    from weir_training.parity import Logits


_ONE_THREAD_BYTES = 64 << 20


class Checkpoint:
    """A merged checkpoint, loaded in float32 on CPU with dropout off; no code of its own is run.

    With `adapter`, a folder of PEFT's, that LoRA adapter is added.

    Raises:
        JobError: transformers does not load it.
    """

    def __init__(self, folder: Path, *, threads: int, adapter: Path | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        torch.set_num_threads(threads)
        logging.disable_progress_bar()
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise JobError(f"{folder}: transformers does not load this checkpoint: {error}") from error
        if adapter is not None:
            from peft import PeftModel

            with quiet_libraries():
                model = PeftModel.from_pretrained(model, str(adapter))
        self._torch = torch
        self._model: Any = model.eval()
        self._eos_ids = tuple(sorted(eos_ids(folder, load_tokenizer(folder))))

    @property
    def vocab_size(self) -> int:
        return int(self._model.config.vocab_size)

    @property
    def context_tokens(self) -> int:
        return int(self._model.config.max_position_embeddings)

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer, ascending."""
        return self._eos_ids

    def logits(self, sequences: Sequence[Sequence[int]]) -> "list[Logits]":
        """Return, per sequence, float32 logits of shape (length, vocabulary); position t predicts token t + 1.

        Sequences are padded on the right, which causal attention never sees.
        """
        torch = self._torch
        longest = max(map(len, sequences))
        ids = torch.zeros((len(sequences), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        with torch.inference_mode():
            out = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return [np.asarray(out[row, : len(sequence)]) for row, sequence in enumerate(sequences)]

    def greedy(self, prompt_ids: Sequence[int], count: int) -> list[int]:
        """Return the `count` likeliest next tokens, one after another; an end-of-sequence token does not end it."""
        torch = self._torch
        tokens, past = torch.tensor([list(prompt_ids)]), None
        chosen: list[int] = []
        with torch.inference_mode():
            while len(chosen) < count:
                out = self._model(input_ids=tokens, past_key_values=past, use_cache=True)
                past = out.past_key_values
                chosen.append(int(out.logits[0, -1].argmax()))
                tokens = torch.tensor([[chosen[-1]]])
        return chosen


def sensible_threads(folder: Path, most: int) -> int:
    """Below some 16 M parameters the matrices are smaller than the cost of sharing them out between threads.

    On two busy cores the built-in base took 32 s with two threads and 7 s with one.
    """
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return 1 if weights < _ONE_THREAD_BYTES else most
