"""The release's own tokenizer, without transformers."""

from pathlib import Path

from tokenizers import Tokenizer

from weir.contracts.errors import ReleaseError


class ReleaseTokenizer:
    """Text to ids and back, exactly as the checkpoint's fast tokenizer does. Thread-safe: nothing is mutated."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust binding raises bare Exception
            raise ReleaseError(f"{path.name}: not a tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = frozenset(i for i, token in added.items() if token.special)
        self._control = tuple(token.content for token in added.values() if token.special)

    @property
    def vocab_size(self) -> int:
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def special_ids(self) -> frozenset[int]:
        return self._special

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Surface forms of the special tokens, e.g. `<|im_start|>`."""
        return self._control

    def to_json(self) -> str:
        """The whole tokenizer, as tokenizer.json has it."""
        return str(self._tokenizer.to_str())

    def encode(self, text: str) -> list[int]:
        """Return token ids. Control tokens in `text` become their ids; no BOS is added (the template writes it)."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_whole(self, text: str) -> list[int]:
        """Return token ids with the special ones that the tokenizer itself puts around a text (`[CLS]`, `</s>`)."""
        return list(self._tokenizer.encode(text, add_special_tokens=True).ids)

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """Return, per token, its id and where in `text` it begins and ends; tokens of one character all span it."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [(token, *span) for token, span in zip(encoding.ids, encoding.offsets, strict=True)]

    def decode(self, ids: list[int], *, skip_special: bool = True) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=skip_special))

    def token_text(self, token_id: int) -> str:
        """The vocabulary's own spelling of one id (byte-level alphabet), for diagnostics only."""
        return str(self._tokenizer.id_to_token(token_id))
