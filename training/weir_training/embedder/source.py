"""What a checkpoint's folder says of how its hidden states become one vector."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weir.contracts.embedder import Pooling
from weir.contracts.errors import UsageError

_MOST_TOKENS: Final = 131_072
_SAYS: Final = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}
# Their positions begin behind the padding's id.
_SHIFTED: Final = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "data2vec-text"})
_DONE_HERE: Final = frozenset({"Transformer", "Pooling", "Normalize"})


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint that transformers loads, with its tokenizer, and how it is to be read."""

    folder: Path
    pooling: Pooling
    context_tokens: int
    pad_id: int
    vocab_size: int


def read_source(folder: Path, pooling: Pooling | None) -> Source:
    """Read the folder's configuration; `pooling` stands in for what it says itself, or for the guess.

    A folder of sentence-transformers says how it pools. Otherwise a decoder's last token knows all, and an encoder's
    tokens are averaged.

    Raises:
        UsageError: it is no checkpoint, or does something after pooling that Weir does not export.
    """
    config = _json(folder / "config.json")
    if config is None or not (folder / "tokenizer.json").is_file():
        raise UsageError(f"{folder}: no checkpoint here (config.json and tokenizer.json are needed)")
    if not any(folder.glob("*.safetensors")):
        raise UsageError(f"{folder}: no weights here (only *.safetensors are read)")
    _check_modules(folder)
    pad_id = _pad_id(folder, config)
    context_tokens = _context(folder, config, pad_id)
    vocab_size = config.get("vocab_size")
    if not isinstance(vocab_size, int) or context_tokens < 4:
        raise UsageError(f"{folder}/config.json: vocab_size and max_position_embeddings are needed")
    return Source(folder, pooling or _pooling(folder, config), context_tokens, pad_id, vocab_size)


def _check_modules(folder: Path) -> None:
    modules = _json(folder / "modules.json")
    for module in modules if isinstance(modules, list) else ():
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind not in _DONE_HERE:
            raise UsageError(f"{folder}/modules.json: {kind} after pooling is not exported yet")


def _pooling(folder: Path, config: dict[str, Any]) -> Pooling:
    for path in sorted(folder.glob("*_Pooling/config.json")):
        said = [pooling for key, pooling in _SAYS.items() if (_json(path) or {}).get(key)]
        if len(said) != 1:
            raise UsageError(f"{path}: this way of pooling is not exported; give --pooling mean, cls or last")
        return said[0]  # type: ignore[return-value]  # one of the values of _SAYS
    is_decoder = any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in config.get("architectures") or ())
    return "last" if is_decoder else "mean"


def _pad_id(folder: Path, config: dict[str, Any]) -> int:
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(folder).pad_token_id
    found = config.get("pad_token_id") if found is None else found
    return found if isinstance(found, int) else 0


def _context(folder: Path, config: dict[str, Any], pad_id: int) -> int:
    most = config.get("max_position_embeddings") or 0
    if config.get("model_type") in _SHIFTED:
        most -= pad_id + 1
    said = [
        (_json(folder / "tokenizer_config.json") or {}).get("model_max_length"),
        (_json(folder / "sentence_bert_config.json") or {}).get("max_seq_length"),
    ]
    return min(most, _MOST_TOKENS, *(int(limit) for limit in said if isinstance(limit, int | float) and limit > 0))


def _json(path: Path) -> Any:
    """Return what the file says; none: there is no such file, or it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
