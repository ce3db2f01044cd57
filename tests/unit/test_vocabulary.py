"""Which tokens a cut output layer keeps: those of the data, of named languages, and always enough to say anything."""

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tiny_graph import lively_checkpoint

from weir.contracts.errors import JobError, UsageError
from weir.contracts.request import Message
from weir.release.prompts import load_chat_template
from weir.release.tokenizer import ReleaseTokenizer
from weir_training.data import Row
from weir_training.recipe import Recipe, VocabularyPart
from weir_training.strict import parse
from weir_training.vocabulary import KeptTokens, is_written_in, kept_tokens

ROWS = tuple(
    Row((Message(role="user", content=question), Message(role="assistant", content=answer)), "here")
    for question, answer in (("How do I return an order?", "Within seven days."), ("怎么退货？", "七天内。"))
)


@cache
def kept(*languages: str, rank_below: int | None = None) -> KeptTokens:
    part = VocabularyPart(keep="data", languages=languages, rank_below=rank_below)
    found = kept_tokens(part, lively_checkpoint(), ROWS)
    assert found is not None
    return found


@cache
def tokenizer() -> ReleaseTokenizer:
    return ReleaseTokenizer(lively_checkpoint() / "tokenizer.json")


def bytewise(text: str) -> list[int]:
    """Tokens of single bytes, spelled in the byte-level alphabet: printable bytes as themselves, others from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    spelled = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    vocabulary = json.loads((lively_checkpoint() / "tokenizer.json").read_text())["model"]["vocab"]
    return [vocabulary[spelled[byte]] for byte in text.encode()]


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_still_be_said(text: str) -> None:
    ids = bytewise(text)

    assert tokenizer().decode(ids, skip_special=False) == text
    assert set(ids) <= set(kept().ids)


def test_every_token_of_the_data_is_kept_as_the_template_renders_it() -> None:
    template = load_chat_template(lively_checkpoint(), tokenizer())
    assert template is not None
    for row in ROWS:
        assert set(tokenizer().encode(template.render(row.turns, add_generation_prompt=False))) <= set(kept().ids)
        assert set(tokenizer().encode(template.render(row.question))) <= set(kept().ids)


def test_special_tokens_are_kept_and_others_that_nobody_needs_are_not() -> None:
    assert tokenizer().special_ids <= set(kept().ids)
    assert len(kept().ids) < kept().of == 400
    wizards = set(tokenizer().encode(" seven wizards")) - set(kept().ids)
    assert wizards  # the tokenizer has a token of its own for what these rows never say


def test_ids_ascend_and_every_token_is_counted_once() -> None:
    found = kept("en")

    assert list(found.ids) == sorted(set(found.ids))
    assert sum(found.counts.values()) == len(found.ids)
    assert list(found.counts) == ["control", "bytes", "data", "languages"]
    assert found.counts["bytes"] == 256


_ENGLISH = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzABCXYZ 0123456789,.?!-\n😀é"), max_size=40)
_CHINESE = st.text(st.sampled_from("怎么退货签收后七天内可以无理由快递几到一般两三，。？ 0123456789"), max_size=40)


@settings(max_examples=200, deadline=None)
@given(_ENGLISH)
def test_text_of_a_named_language_needs_no_token_that_was_cut(text: str) -> None:
    assert set(tokenizer().encode(text)) <= set(kept("en").ids)


@settings(max_examples=200, deadline=None)
@given(_CHINESE)
def test_text_of_another_script_too(text: str) -> None:
    assert set(tokenizer().encode(text)) <= set(kept("zh").ids)


def test_a_language_brings_its_own_script_and_no_other() -> None:
    quick = set(tokenizer().encode("The quick brown fox jumps over the lazy dog"))

    assert quick <= set(kept("en").ids)
    assert not quick <= set(kept("zh").ids)


def test_a_rank_bounds_what_languages_bring_and_nothing_else() -> None:
    bounded = kept("en", "zh", rank_below=300)

    assert set(kept().ids) < set(bounded.ids) < set(kept("en", "zh").ids)
    assert all(token < 300 for token in set(bounded.ids) - set(kept().ids))


@pytest.mark.parametrize(
    ("text", "scripts", "expected"),
    [
        ("order", ("LATIN",), True),
        (" café", ("LATIN",), True),
        ("cafe\u0301", ("LATIN",), True),
        ("退货", ("LATIN",), False),
        ("退货a", ("CJK",), False),
        ("Ｏｒｄｅｒ", ("LATIN",), True),
        ("заказ", ("LATIN",), False),
        ("12:30, 50% 😀\n", ("CJK",), True),
        ("हिन्दी", ("DEVANAGARI",), True),
        ("हिन्दी", ("LATIN",), False),
    ],
)
def test_letters_decide_which_language_a_token_belongs_to(text: str, scripts: tuple[str, ...], expected: bool) -> None:
    assert is_written_in(text, scripts) is expected


def test_a_tokenizer_without_bytes_keeps_its_whole_vocabulary(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE({"a": 0, "b": 1}, [])).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"vocab_size": 2}')

    assert kept_tokens(VocabularyPart(), tmp_path, ROWS) is None
    with pytest.raises(JobError, match="cannot say every text"):
        kept_tokens(VocabularyPart(keep="data"), tmp_path, ROWS)


def test_a_tokenizer_that_falls_back_to_bytes_keeps_those(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    spelled = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "ab", "▁ab", "退"]
    bpe = Tokenizer(
        models.BPE(
            {word: number for number, word in enumerate(spelled)},
            [("a", "b"), ("▁", "ab")],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>", eos_token="</s>")
    fast.chat_template = "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    fast.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": len(spelled) + 1}))
    rows = (Row((Message(role="user", content="b"), Message(role="assistant", content="a ab")), "here"),)

    found = kept_tokens(VocabularyPart(keep="data"), tmp_path, rows)

    assert found is not None
    words = {fast.convert_ids_to_tokens(token) for token in range(found.of)}
    assert words - set(fast.convert_ids_to_tokens(list(found.ids))) == {"ab"}


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [
        ({"languages": ["en"]}, "need keep: data"),
        ({"rank_below": 9}, "need keep: data"),
        ({"keep": "data", "languages": ["xx"]}, "export.vocabulary.languages.0"),
        ({"keep": "some"}, "export.vocabulary.keep"),
    ],
)
def test_a_recipe_that_asks_for_something_else_is_told_where(vocabulary: dict[str, object], words: str) -> None:
    tree = {"name": "tiny", "data": {"train": ["rows.jsonl"]}, "export": {"vocabulary": vocabulary}}

    with pytest.raises(UsageError, match=words):
        parse(Recipe, tree, source="recipe.yaml")
