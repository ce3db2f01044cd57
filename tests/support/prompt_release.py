"""A release without any graph: tokenizer, template and manifest, which is all that a gateway reads."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from weir.contracts.manifest import AdapterEntry, FileEntry, Format, GoldenPrompt, Lineage, Parity, ReleaseManifest
from weir.release.hashing import sha256_file, sha256_text
from weir.release.reader import read_manifest

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEXTS = ["How do I return an order? Within seven days.", "怎么退货？签收后七天内可以无理由退货。"]


def make_prompt_release(
    folder: Path,
    *,
    model: str = "faq",
    version: int = 1,
    context_tokens: int = 128,
    prompt_mode: str = "chat",
    adapters: Sequence[str] = (),
) -> Path:
    """Write `folder/<model>/<version>` and return it."""
    root = folder / model / str(version)
    (root / "model").mkdir(parents=True)
    _tokenizer().save(str(root / "model" / "tokenizer.json"))
    (root / "model" / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    manifest = _manifest(root, model, version, context_tokens, prompt_mode)
    entries = tuple(AdapterEntry(name=name, rank=1, mean_kl=0, argmax_agreement=1) for name in adapters)
    manifest = manifest.model_copy(update={"adapters": entries})
    (root / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    (root / "COMPLETE").write_text(sha256_file(root / "manifest.json"))
    return root


def write_template(root: Path, template: str) -> None:
    """Give the release at `root` another chat template, and the manifest that vouches for it."""
    path = root / "model" / "chat_template.jinja"
    path.write_text(template, encoding="utf-8")
    sha256 = sha256_file(path)
    files = [entry for entry in read_manifest(root).files if entry.path != "model/chat_template.jinja"]
    entry = FileEntry(path="model/chat_template.jinja", sha256=sha256, bytes=path.stat().st_size)
    change_manifest(root, files=(*files, entry), chat_template_sha256=sha256)


def change_manifest(root: Path, **changes: Any) -> None:
    """Write the manifest again with other fields."""
    manifest = read_manifest(root).model_copy(update=changes)
    (root / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    (root / "COMPLETE").write_text(sha256_file(root / "manifest.json"))


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_TEXTS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    return tokenizer


def _manifest(root: Path, model: str, version: int, context_tokens: int, prompt_mode: str) -> ReleaseManifest:
    files = sorted((root / "model").iterdir())
    zero = sha256_text("")
    parity = Parity(
        max_abs=0, argmax_agreement=1, mean_kl=0, nll=1, nll_reference=1, greedy_equal=True, bytes=1, passed=True
    )
    lineage = Lineage(
        base="none",
        base_sha256=zero,
        recipe_sha256=zero,
        data_sha256={},
        run="test",
        seed=0,
        code_version="test",
        libraries={},
    )
    return ReleaseManifest(
        model=model,
        version=version,
        created=datetime(2026, 11, 1, tzinfo=UTC),
        files=tuple(
            FileEntry(path=f"model/{path.name}", sha256=sha256_file(path), bytes=path.stat().st_size) for path in files
        ),
        lineage=lineage,
        prompt_mode="raw" if prompt_mode == "raw" else "chat",
        context_tokens=context_tokens,
        vocab_size=303,
        eos_ids=(302,),
        tokenizer_sha256=sha256_file(root / "model" / "tokenizer.json"),
        chat_template_sha256=sha256_file(root / "model" / "chat_template.jinja"),
        golden=(GoldenPrompt(prompt="hi", prompt_ids=(1,), greedy_ids=(2,)),),
        formats=(Format(flavour="cpu-fp32", graph="onnx/none", parity=parity, golden_greedy_ids=((2,),)),),
        serve_flavour="cpu-fp32",
        gate_passed=True,
    )
