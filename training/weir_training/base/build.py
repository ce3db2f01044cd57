"""Make a built-in base from nothing but this repository and the Python installation.

The same profile gives the same bytes on the same machine and library versions: inputs are sorted, seeds fixed, one
thread computes, and no file holds a time or a path.
"""

import hashlib
import json
import platform
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from weir_training.base.card import model_card
from weir_training.base.corpus import CorpusPart, running_text
from weir_training.base.decontaminate import read_demo
from weir_training.base.dialogues import Dialogue, dialogues
from weir_training.base.pretrain import PretrainReport, Progress, create_model, pretrain
from weir_training.base.profiles import Profile
from weir_training.base.tokenizer import END_OF_TEXT, TURN_START, save_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

MANIFEST_NAME = "manifest.json"
CARD_NAME = "MODEL_CARD.md"
SCHEMA_VERSION = 1

_LIBRARIES = ("safetensors", "tokenizers", "torch", "transformers")
_TOKENIZER_DIALOGUES = 30_000

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Texts:
    """What a base is made from, and what was kept out of it."""

    dialogues: list[Dialogue]
    passages: list[str]
    parts: tuple[CorpusPart, ...]
    removed: Counter[str]
    checked_files: dict[str, str]  # example file name to sha256


def build(profile: Profile, out: Path, *, examples: Sequence[Path], on_progress: Progress) -> Manifest:
    """Build the base into `out`, replacing what was there once all files are written; return its manifest."""
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    texts = gather(profile, examples)
    report, parameter_count = _write_model(profile, texts, draft, on_progress)
    manifest = _manifest(profile, texts, report, parameter_count)
    (draft / CARD_NAME).write_text(model_card(manifest), encoding="utf-8")
    manifest["files"] = file_records(draft)
    (draft / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _replace(out, draft)
    return manifest


def gather(profile: Profile, examples: Sequence[Path]) -> Texts:
    """Make the dialogues, drop those that hold anything of `examples`, and draw passages of running text."""
    demo = read_demo(examples)
    kept = demo.clean(dialogues(profile.dialogue_count, seed=profile.seed))
    sources = running_text()
    passages = [text for part in sources for text in part.texts]
    rng = Random(profile.seed)  # noqa: S311 - reproducible, not secret
    made = CorpusPart("made-dialogues", "Apache-2.0", tuple(json.dumps(turns, ensure_ascii=False) for turns in kept))
    return Texts(
        dialogues=kept,
        passages=rng.sample(passages, min(profile.passage_count, len(passages))),
        parts=(made, *sources),
        removed=demo.removed,
        checked_files={path.name: _sha256(path) for path in sorted(examples)},
    )


def file_records(folder: Path) -> dict[str, dict[str, int | str]]:
    """Return sha256 and size of every file but the manifest, by name."""
    return {
        path.name: {"sha256": _sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST_NAME
    }


def _write_model(profile: Profile, texts: Texts, folder: Path, on_progress: Progress) -> tuple[PretrainReport, int]:
    trained = train_tokenizer(_tokenizer_texts(texts), vocab_size=profile.vocab_size)
    tokenizer = save_tokenizer(trained, folder, max_context_tokens=profile.max_context_tokens)
    encoded = tokenizer(list(_rendered(tokenizer, texts)), add_special_tokens=False)["input_ids"]
    Random(profile.seed).shuffle(encoded)  # noqa: S311 - reproducible, not secret
    model = create_model(profile, vocab_size=len(tokenizer))
    assistant_id = tokenizer(f"{TURN_START}assistant")["input_ids"][1]
    report = pretrain(model, encoded, profile, assistant_id=assistant_id, on_progress=on_progress)
    _save_model(model, folder)
    return report, model.num_parameters()


def _tokenizer_texts(texts: Texts) -> Iterator[str]:
    yield from (content for turns in islice(texts.dialogues, _TOKENIZER_DIALOGUES) for _, content in turns)
    yield from texts.passages


def _rendered(tokenizer: Any, texts: Texts) -> Iterator[str]:
    for turns in texts.dialogues:
        messages = [{"role": role, "content": content} for role, content in turns]
        yield tokenizer.apply_chat_template(messages, tokenize=False) + END_OF_TEXT
    yield from (passage + END_OF_TEXT for passage in texts.passages)


def _save_model(model: "LlamaForCausalLM", folder: Path) -> None:
    """Store half-precision weights; the config asks for float32, in which a CPU computes and training runs."""
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"dtype": "float32"}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _manifest(profile: Profile, texts: Texts, report: PretrainReport, parameter_count: int) -> Manifest:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": f"{profile.name}-chat",
        "parameter_count": parameter_count,
        "profile": asdict(profile),
        "pretraining": asdict(report),
        "corpus": [
            {
                "name": part.name,
                "licence": part.licence,
                "texts": len(part.texts),
                "chars": part.chars,
                "sha256": part.sha256,
            }
            for part in texts.parts
        ],
        "decontamination": {
            "checked_files": texts.checked_files,
            "removed_dialogues": dict(sorted(texts.removed.items())),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    }


def _replace(out: Path, draft: Path) -> None:
    retired = out.with_name(f".{out.name}.retired")
    shutil.rmtree(retired, ignore_errors=True)
    if out.exists():
        out.rename(retired)
    draft.rename(out)
    shutil.rmtree(retired, ignore_errors=True)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
