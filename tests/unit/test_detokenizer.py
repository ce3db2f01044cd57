"""Text from tokens, piece by piece: joined it must be what decoding everything at once gives."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from weir.engine.detokenizer import Detokenizer
from weir.release.tokenizer import ReleaseTokenizer

TEXTS = ["hello hello world world the the cat", "你好世界，怎么退货？", "a b c d e f g  two  spaces"]
SAMPLES = st.text(st.sampled_from("helo wrd thca 你好世界怎么退货？🙂é\n"), max_size=40)


def released(tokenizer: Tokenizer) -> ReleaseTokenizer:
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(str(path))
        return ReleaseTokenizer(path)


@cache
def byte_level() -> ReleaseTokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    return released(tokenizer)


@cache
def prefix_space() -> ReleaseTokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=120, show_progress=False))
    return released(tokenizer)


@cache
def byte_fallback() -> ReleaseTokenizer:
    """As Llama's: sentencepiece spaces, and bytes for what the vocabulary lacks."""
    pieces = ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), "▁", *"helowrdtca", "你", "▁the", "lo"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    merges = [("l", "o")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return released(tokenizer)


def pieces_of(tokenizer: ReleaseTokenizer, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.add(i) for i in ids), detokenizer.flush()]


@given(st.lists(st.integers(0, 301), max_size=60))
@settings(max_examples=1000, deadline=None)
def test_byte_level_pieces_join_to_the_whole_for_any_ids(ids: list[int]) -> None:
    tokenizer = byte_level()
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids)


@given(st.lists(st.integers(0, 121), max_size=60))
@settings(max_examples=1000, deadline=None)
def test_prefix_space_pieces_join_to_the_whole_for_any_ids(ids: list[int]) -> None:
    tokenizer = prefix_space()
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids)


def test_ids_beyond_the_vocabulary_are_no_context_for_the_next_word() -> None:
    tokenizer = prefix_space()
    word = tokenizer.encode("two")[0]
    ids = [*tokenizer.encode("a" * 40)[:15], tokenizer.vocab_size + 5, word]
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize("make", [byte_level, prefix_space, byte_fallback])
@given(text=SAMPLES, special_at=st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_written_text_comes_back_and_no_piece_ends_inside_a_character(make, text: str, special_at: int) -> None:
    tokenizer = make()
    ids = tokenizer.encode(text)
    ids.insert(min(special_at, len(ids)), min(tokenizer.special_ids))
    pieces = pieces_of(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids)
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_chinese_character_appears_with_its_last_byte() -> None:
    tokenizer = byte_fallback()
    ids = [tokenizer.encode("好")[-3:][k] for k in range(3)]
    assert pieces_of(tokenizer, ids) == ["", "", "好", ""]


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_a_character_that_is_cut_off_shows_once_at_the_end(make) -> None:
    tokenizer = make()
    ids = tokenizer.encode("你🙂")[:-1]
    pieces = pieces_of(tokenizer, ids)
    assert "".join(pieces[:-1]) == "你"
    assert set(pieces[-1]) == {"\ufffd"}


def test_special_tokens_add_nothing() -> None:
    tokenizer = byte_level()
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.add(i) for i in sorted(tokenizer.special_ids)] == ["", ""]


@given(SAMPLES)
@settings(max_examples=50, deadline=None)
def test_the_window_stays_short(text: str) -> None:
    tokenizer = byte_level()
    detokenizer = Detokenizer(tokenizer)
    for token in tokenizer.encode(text * 5):
        detokenizer.add(token)
        assert len(detokenizer._window) <= 24
