"""A tokenizer of any size in which a token is one word, so that text and token ids are the same prompt.

Tokens: the end mark, the 256 bytes, then ` a` ... ` z`, ` aa`, ` ab`, ... Merges extend a word by one letter, so that
` abc` is one token exactly if it is in the vocabulary. Byte-level BPE with GPT-2's splitting: every engine reads it.
"""

import itertools
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Final

END_ID: Final = 0
END: Final = "<|endoftext|>"  # transformers adds this one to a tokenizer of Qwen's kind that has it not
FIRST_WORD_ID: Final = 1 + 256
_SPACE: Final = "Ġ"  # how byte-level BPE spells a space


def save_word_tokenizer(folder: Path, vocab_size: int) -> None:
    """Write tokenizer.json and its configuration into `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = list(itertools.islice(_words(), vocab_size - FIRST_WORD_ID))
    names = [END, *sorted(pre_tokenizers.ByteLevel.alphabet()), *words]
    merges = [(word[:-1], word[-1]) for word in words]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END).save_pretrained(folder)


def _words() -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield _SPACE + "".join(letters)
