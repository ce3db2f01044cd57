"""The figures of docs/decisions/0008-grammar-masks.md: `python -m tests.bench.grammar_masks [llguidance|xgrammar]`.

Prints Markdown. One library per process, so that memory is its own. xgrammar is no dependency of Weir: install it aside
(it brings torch). Vocabularies: the built-in base's, and a byte-level BPE of 150,000 tokens trained here on made-up
text (about 20 s, kept below .weir/test-cache).
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "training" / "base" / "tiny_chat" / "tokenizer.json"
LARGE = ROOT / ".weir" / "test-cache" / "bpe-150k" / "tokenizer.json"
LARGE_SIZE = 150_000
EOS = {SMALL: (3, 1), LARGE: (0,)}

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "vip"]}, "maxItems": 3},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
ORDER = {
    "type": "object",
    "properties": {
        "订单号": {"type": "string", "pattern": "^[0-9]{8}$"},
        "状态": {"enum": ["待付款", "已发货", "已签收"]},
        "备注": {"type": "string", "maxLength": 30},
    },
    "required": ["订单号", "状态"],
    "additionalProperties": False,
}
WIDE = {
    "type": "object",
    "properties": {f"field_{i}": {"type": ("string", "integer", "boolean")[i % 3]} for i in range(60)},
    "additionalProperties": False,
}
ANSWERS: dict[str, tuple[dict[str, Any] | None, str | None, tuple[str, ...], tuple[str, ...]]] = {
    # schema, regex, texts that satisfy it, texts that do not
    "person": (
        PERSON,
        None,
        (
            json.dumps({"name": 'Ann "A" Lee', "age": 33, "tags": ["vip", "new"], "address": {"city": "Xi'an"}}),
            json.dumps({"name": "王小明", "age": 7}, ensure_ascii=False),
        ),
        ('{"name": "Ann", "age": 151}', '{"age": 3, "name": "x", "more": 1}', '{"name": 3}'),
    ),
    "order (Chinese)": (
        ORDER,
        None,
        (json.dumps({"订单号": "20260101", "状态": "已发货", "备注": "请放门口，谢谢"}, ensure_ascii=False),),
        ('{"订单号": "2026", "状态": "已发货"}', '{"订单号": "20260101", "状态": "不明"}'),
    ),
    "60 fields": (
        WIDE,
        None,
        (json.dumps({f"field_{i}": ("some text", 12, True)[i % 3] for i in range(0, 60, 2)}),),
        ('{"field_1": "text"}', '{"field_61": 1}'),
    ),
    "any object": (
        {"type": "object"},
        None,
        (json.dumps({"a": [1, {"b": "c 中文"}], "d": None}, ensure_ascii=False),),
        ("[1]", "{a: 1}"),
    ),
    "regex": (None, r"[a-z]{3,10}@[a-z]+\.(com|cn) 1[3-9][0-9]{9}", ("someone@example.cn 13912345678",), ("x@y.z 1",)),
}


class Matcher(Protocol):
    def mask(self) -> np.ndarray:
        """Bits of the tokens that may come next, lowest first, uint8."""
        ...

    def take(self, token: int) -> bool: ...


class Library(Protocol):
    def compile(self, schema: dict[str, Any] | None, regex: str | None) -> Callable[[], Matcher]: ...


class Llguidance:
    def __init__(self, tokenizer: Path) -> None:
        import llguidance

        self._module = llguidance
        self._tokenizer = llguidance.LLTokenizer(tokenizer.read_text("utf-8"), eos_token=list(EOS[tokenizer]))

    def compile(self, schema: dict[str, Any] | None, regex: str | None) -> Callable[[], Matcher]:
        matcher = self._module.LLMatcher
        if schema is not None:
            source = matcher.grammar_from_json_schema(json.dumps(schema))
        else:
            source = matcher.grammar_from_regex(regex)
        first = matcher(self._tokenizer, source)
        assert not first.is_error(), first.get_error()
        return lambda: _LlMatcher(first.deep_copy(), self._tokenizer.vocab_size)


class _LlMatcher:
    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher = matcher
        self._bits = np.zeros((size + 31) // 32 * 4, np.uint8)

    def mask(self) -> np.ndarray:
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        return self._bits

    def take(self, token: int) -> bool:
        return bool(self._matcher.consume_token(token))


class Xgrammar:
    def __init__(self, tokenizer: Path) -> None:
        import xgrammar

        self._module = xgrammar
        vocabulary = json.loads(tokenizer.read_text("utf-8"))
        tokens = {i: token for token, i in vocabulary["model"]["vocab"].items()}
        tokens |= {t["id"]: t["content"] for t in vocabulary["added_tokens"]}
        self._info = xgrammar.TokenizerInfo(
            [tokens[i] for i in range(len(tokens))],
            vocab_type=xgrammar.VocabType.BYTE_LEVEL,
            stop_token_ids=list(EOS[tokenizer]),
        )
        self._compiler = xgrammar.GrammarCompiler(self._info, max_threads=2, cache_enabled=False)

    def compile(self, schema: dict[str, Any] | None, regex: str | None) -> Callable[[], Matcher]:
        if schema is not None:
            compiled = self._compiler.compile_json_schema(json.dumps(schema), strict_mode=False)
        else:
            compiled = self._compiler.compile_regex(regex)
        return lambda: _XgMatcher(self._module, compiled, self._info.vocab_size)


class _XgMatcher:
    def __init__(self, module: Any, compiled: Any, size: int) -> None:
        self._matcher = module.GrammarMatcher(compiled)
        self._bits = module.allocate_token_bitmask(1, size)

    def mask(self) -> np.ndarray:
        self._matcher.fill_next_token_bitmask(self._bits)
        return self._bits.numpy().view(np.uint8).reshape(-1)

    def take(self, token: int) -> bool:
        return bool(self._matcher.accept_token(token))


@dataclass(frozen=True)
class Figures:
    compile_ms: float
    compile_again_ms: float
    mask_us: list[float]
    right: int
    asked: int


def measure(library: Library, tokenizer: Any, eos: int, name: str) -> Figures:
    schema, regex, good, bad = ANSWERS[name]
    began = time.perf_counter()
    start = library.compile(schema, regex)
    start().mask()
    first = (time.perf_counter() - began) * 1e3
    again = []
    for _ in range(5):
        began = time.perf_counter()
        library.compile(schema, regex)
        again.append((time.perf_counter() - began) * 1e3)
    times: list[float] = []
    right = 0
    for round_number in range(10):
        for text, wanted in [(t, True) for t in good] + [(t, False) for t in bad]:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            verdict = _follow(start(), [*ids, eos], times)
            right += (verdict == wanted) and round_number == 0
    return Figures(first, statistics.median(again), times, right, len(good) + len(bad))


def _follow(matcher: Matcher, ids: list[int], times: list[float]) -> bool:
    """Take the tokens while the mask lets them through; return whether all of them came through."""
    for token in ids:
        began = time.perf_counter()
        bits = matcher.mask()
        times.append((time.perf_counter() - began) * 1e6)
        if not bits[token // 8] >> (token % 8) & 1:
            return False
        if not matcher.take(token):
            return False
    return True


def large_tokenizer() -> Path:
    """Train the large vocabulary, once."""
    if not LARGE.is_file():
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=LARGE_SIZE, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(_made_up_text(), trainer)
        LARGE.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(LARGE))
    return LARGE


def _made_up_text() -> Iterator[str]:
    """Words of syllables, Chinese words of one to four characters, numbers, and pieces of JSON and code; seeded."""
    dice = random.Random(7)
    syllables = [a + b + c for a in "bcdfghjklmnprstvwz" for b in "aeiou" for c in ("", "n", "r", "s", "t", "l")]
    words = ["".join(dice.choices(syllables, k=dice.randint(1, 4))) for _ in range(150_000)]
    characters = [chr(0x4E00 + i) for i in range(3_500)]
    chinese = ["".join(dice.choices(characters, k=dice.randint(1, 4))) for _ in range(60_000)]
    marks = [
        '": "',
        '", "',
        '"}',
        '": {',
        '": [',
        "],",
        '"',
        "();",
        " = ",
        ", ",
        ". ",
        "\n    ",
        "\n",
        " -> ",
        "://",
        "\\n",
    ]
    for _ in range(120_000):
        parts = []
        for _ in range(12):
            kind = dice.random()
            source = words if kind < 0.5 else chinese if kind < 0.8 else marks
            parts.append(dice.choice(source) if kind < 0.95 else str(dice.randint(0, 99_999)))
            parts.append(dice.choice((" ", " ", "", "_")))
        yield "".join(parts)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main() -> None:
    from tokenizers import Tokenizer

    name = sys.argv[1] if len(sys.argv) > 1 else "llguidance"
    kind: type[Any] = {"llguidance": Llguidance, "xgrammar": Xgrammar}[name]
    print("| library | tokens | grammar | compiled, first / again ms | mask p50 / p99 us | right | MB |")
    print("|---" * 7 + "|")
    for path in (SMALL, large_tokenizer()):
        tokenizer = Tokenizer.from_file(str(path))
        before, began = _resident_mb(), time.perf_counter()
        library = kind(path)
        built = (time.perf_counter() - began) * 1e3
        size, memory = tokenizer.get_vocab_size(), _resident_mb() - before
        print(f"| {name} | {size} | (vocabulary) | {built:.0f} | | | {memory:.0f} |")
        for grammar in ANSWERS:
            before = _resident_mb()
            f = measure(library, tokenizer, EOS[path][0], grammar)
            p50, p99 = np.percentile(f.mask_us, [50, 99])
            print(
                f"| | | {grammar} | {f.compile_ms:.1f} / {f.compile_again_ms:.1f} | {p50:.0f} / {p99:.0f} "
                f"| {f.right} of {f.asked} | {_resident_mb() - before:.0f} |"
            )


if __name__ == "__main__":
    main()
