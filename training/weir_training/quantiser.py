"""Child process of `weir export --quantize`: NVIDIA ModelOpt calibrates, is measured, and writes its checkpoint.

    python -m weir_training.quantiser < PLAN.json

The model with ModelOpt's quantisers in it computes what the checkpoint that it writes will say; it is compared with the
plain one before it is written. One JSON object on stdout, everything else on stderr.
"""

import contextlib
import copy
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from weir_training.parity import Tally, TaskRow, batches
from weir_training.quiet import calm_threads

_BLOCKS: Final = (128, 64, 32, 16)  # of int4_awq; TensorRT-LLM's kernels take 128 and 64
_PAPERS: Final = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def main() -> None:
    plan = json.load(sys.stdin)
    calm_threads()
    with contextlib.redirect_stdout(sys.stderr):
        found = _quantise(plan)
    sys.stdout.write(json.dumps(found))


def _quantise(plan: dict[str, Any]) -> dict[str, Any]:
    import modelopt.torch.quantization as mtq
    import torch
    from modelopt.torch.export import export_hf_checkpoint

    from weir_training.checkpoint import Checkpoint
    from weir_training.trainer import load_model

    folder, device = Path(plan["checkpoint"]), "cuda" if torch.cuda.is_available() else "cpu"
    rows = [TaskRow("", tuple(row["prompt_ids"]), tuple(row["answer_ids"])) for row in plan["rows"]]
    reference = Checkpoint(folder, threads=plan["threads"])
    model = load_model(folder).to(device).eval()

    def calibrate(calibrated: Any) -> None:
        with torch.inference_mode():
            for row in rows:
                calibrated(input_ids=torch.tensor([row.ids], device=device))

    mtq.quantize(model, _config(mtq, plan["kind"], model), calibrate)
    figures = _figures(reference, model, rows, device)
    with torch.inference_mode():
        export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=plan["folder"])
    for name in _PAPERS:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, Path(plan["folder"]) / name)
    return {"device": device, "figures": {**figures, "device": device}}


def _config(mtq: Any, kind: str, model: Any) -> dict[str, Any]:
    if kind == "fp8":
        return copy.deepcopy(dict(mtq.FP8_DEFAULT_CFG))
    config = copy.deepcopy(dict(mtq.INT4_AWQ_CFG))
    _set_block(config, _block(model))
    return config


def _block(model: Any) -> int:
    """The largest block that divides every product's input; ModelOpt packs whole blocks only."""
    import torch

    head = model.get_output_embeddings()
    sizes = {m.in_features for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head}
    found = next((block for block in _BLOCKS if all(size % block == 0 for size in sizes)), None)
    if found is None:
        raise SystemExit(
            f"int4_awq: products over {sorted(sizes)} inputs have no common block of {_BLOCKS[-1]} or more"
        )
    return found


def _set_block(tree: Any, size: int) -> None:
    """Set the size of every block along the last axis, wherever ModelOpt's configuration has one."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "block_sizes" and isinstance(value, dict) and -1 in value:
                value[-1] = size
            else:
                _set_block(value, size)
    elif isinstance(tree, list):
        for item in tree:
            _set_block(item, size)


def _figures(reference: Any, model: Any, rows: Sequence[TaskRow], device: str) -> dict[str, Any]:
    import torch

    tally = Tally()
    for batch in batches(rows, reference.vocab_size):
        for row, wanted in zip(batch, reference.logits([row.ids for row in batch]), strict=True):
            with torch.inference_mode():
                got = model(input_ids=torch.tensor([row.ids], device=device)).logits[0].float().cpu().numpy()
            tally.add(wanted[:-1], got[:-1])
            answer = slice(len(row.prompt_ids) - 1, len(row.ids) - 1)
            tally.add_answer(wanted[answer], got[answer], row.answer_ids)
    return {
        "max_abs": tally.max_abs,
        "argmax_agreement": tally.agreed / tally.positions,
        "mean_kl": tally.kl_sum / tally.positions,
        "nll": tally.nll_sum / tally.answer_tokens,
        "nll_reference": tally.nll_reference_sum / tally.answer_tokens,
        "greedy_equal": tally.exact == tally.rows,
        "exact_match": tally.exact / tally.rows,
        "exact_match_reference": tally.exact_reference / tally.rows,
    }


if __name__ == "__main__":
    main()
