"""A release with a tokenizer, a chat template and no graph: a gateway reads nothing else of one."""

import itertools
import string
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from weir import __version__
from weir.contracts.manifest import FileEntry, Format, GoldenPrompt, Lineage, Parity, ReleaseManifest
from weir.release.hashing import sha256_file, sha256_text
from weir.release.reader import COMPLETE, MANIFEST
from weir_training.atomic import new_folder, write_text

MODEL: Final = "bench"
_CONTEXT_TOKENS: Final = 32_768
_WORDS: Final = 26 + 26**2 + 26**3
_CONTROL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_release(folder: Path) -> Path:
    """Write the release anew and return its folder; no node could load it."""
    root = folder / MODEL / "1"
    with new_folder(root) as made:
        (made / "model").mkdir()
        _save_tokenizer(made / "model" / "tokenizer.json")
        write_text(made / "model" / "chat_template.jinja", _TEMPLATE)
        write_text(made / MANIFEST, _manifest(made / "model").model_dump_json() + "\n")
        write_text(made / COMPLETE, sha256_file(made / MANIFEST) + "\n")
    return root


def _save_tokenizer(path: Path) -> None:
    """Byte-level BPE as real models have it: words of up to three letters are one token, longer ones several."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    words = list(itertools.islice(_words(), _WORDS))
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *words]
    merges = [(word[:-1], word[-1]) for word in words]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _CONTROL])
    tokenizer.save(str(path))


def _words() -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield "Ġ" + "".join(letters)


def _manifest(model: Path) -> ReleaseManifest:
    nothing = sha256_text("")
    parity = Parity(
        max_abs=0, argmax_agreement=1, mean_kl=0, nll=0, nll_reference=0, greedy_equal=True, bytes=1, passed=True
    )
    lineage = Lineage(
        base="none",
        base_sha256=nothing,
        recipe_sha256=nothing,
        data_sha256={},
        run="bench",
        seed=0,
        code_version=__version__,
        libraries={},
    )
    return ReleaseManifest(
        model=MODEL,
        version=1,
        created=datetime.now(UTC).replace(microsecond=0),
        files=tuple(
            FileEntry(path=f"model/{path.name}", sha256=sha256_file(path), bytes=path.stat().st_size)
            for path in sorted(model.iterdir())
        ),
        lineage=lineage,
        prompt_mode="chat",
        context_tokens=_CONTEXT_TOKENS,
        vocab_size=256 + _WORDS + len(_CONTROL),
        eos_ids=(256 + _WORDS,),
        tokenizer_sha256=sha256_file(model / "tokenizer.json"),
        chat_template_sha256=sha256_file(model / "chat_template.jinja"),
        golden=(GoldenPrompt(prompt="none", prompt_ids=(1,), greedy_ids=()),),
        formats=(Format(flavour="cpu-none", graph="onnx/none", parity=parity, golden_greedy_ids=((),)),),
        serve_flavour="cpu-none",
        gate_passed=False,
    )
