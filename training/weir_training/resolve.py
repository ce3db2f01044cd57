"""From a recipe's `model.base` to a checkpoint folder on this machine. Never runs code that a checkpoint brings."""

import json
import re
from pathlib import Path
from typing import Any

from weir.contracts.errors import CheckFailedError, JobError, UsageError
from weir_training.base.builtin import SCHEME, builtin_path
from weir_training.recipe import ModelPart

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt")


def resolve_base(part: ModelPart) -> Path:
    """Return the folder of the base: config, tokenizer and safetensors are in it.

    A hub id is fetched into (or, with `HF_HUB_OFFLINE`, only read from) Hugging Face's own cache.

    Raises:
        UsageError: there is no such base, or something in it is missing.
        JobError: it could not be fetched.
    """
    local = local_base(part)
    return _whole(_fetched(part) if local is None else local, part.base)


def local_base(part: ModelPart) -> Path | None:
    """Return the folder that `part.base` means without the network; None for a hub id.

    Raises:
        UsageError: a built-in name that is not shipped, or a path where there is no folder.
    """
    if part.base.startswith(SCHEME):
        try:
            return builtin_path(part.base)
        except LookupError as error:
            raise UsageError(f"model.base: {error}") from error
    folder = Path(part.base).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(part.base):
        raise UsageError(f"model.base: {part.base}: no such folder (nor is it builtin:NAME or a hub id)")
    return None


def read_config(base: Path) -> dict[str, Any]:
    """Return `config.json` of a checkpoint."""
    config: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return config


def eos_ids(base: Path, tokenizer: Any) -> set[int]:
    """Return every token that ends a generation: the tokenizer's and those of `generation_config.json`."""
    ids = {tokenizer.eos_token_id}
    path = base / "generation_config.json"
    if path.is_file():
        listed = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        ids |= set(listed) if isinstance(listed, list) else {listed}
    return {token for token in ids if token is not None}


def refuse_quantised(base: Path, name: str) -> None:
    """Raises CheckFailedError for a base with quantised weights: merging into those loses most of what was learnt."""
    method = read_config(base).get("quantization_config", {}).get("quant_method")
    if method is not None:
        raise CheckFailedError(
            f"{name}: its weights are quantised ({method}); use the full-precision base it was made from"
        )


def _whole(folder: Path, name: str) -> Path:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise UsageError(f"{name}: this is an adapter, not a base; name the base it was trained on")
    missing = [file for file in ("config.json", "tokenizer.json") if not (folder / file).is_file()]
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("pytorch_model*.bin"))
        missing.append("*.safetensors" + (" (it has only pickled weights, which are never loaded)" if pickled else ""))
    if missing:
        raise UsageError(f"{name}: not a whole checkpoint: {', '.join(missing)} missing in {folder}")
    return folder


def _fetched(part: ModelPart) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    where = part.base if part.revision is None else f"{part.base}@{part.revision}"
    try:
        return Path(snapshot_download(part.base, revision=part.revision, allow_patterns=list(_WANTED)))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UsageError(f"model.base: {where}: no such folder, and the hub knows no such model") from error
    except LocalEntryNotFoundError as error:
        reason = "not in the local cache, and the hub cannot be reached (or HF_HUB_OFFLINE is set)"
        raise JobError(f"model.base: {where}: {reason}") from error
    except OSError as error:  # every error of the hub's client and of its transport is one
        raise JobError(f"model.base: {where}: cannot be fetched ({error})") from error
