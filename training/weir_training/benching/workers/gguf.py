"""Runs llama.cpp's converter on a checkpoint whose tokenizer it has never seen.

    python -m weir_training.benching.workers.gguf SOURCE CHECKPOINT OUTFILE

The converter knows tokenizers by a hash of what they make of a test text and refuses others. Ours split as GPT-2's do,
and which splitting is named matters to nobody who is given token ids, so the unknown ones are called that.
"""

import sys
from pathlib import Path
from typing import Any


def main() -> None:
    source, checkpoint, outfile = sys.argv[1:]
    sys.path[:0] = [source, str(Path(source) / "gguf-py")]
    import convert_hf_to_gguf  # type: ignore[import-not-found]
    from conversion.base import TextModel  # type: ignore[import-not-found]

    known = TextModel.get_vocab_base_pre
    if not (Path(checkpoint) / "tokenizer.model").is_file():
        TextModel._set_vocab_sentencepiece = _not_found  # noqa: SLF001  it would ask for a package to find that out

    def name_of(self: Any, tokenizer: Any) -> str:
        try:
            return str(known(self, tokenizer))
        except NotImplementedError:
            return "gpt-2"

    TextModel.get_vocab_base_pre = name_of
    sys.argv = ["convert_hf_to_gguf.py", checkpoint, "--outfile", outfile, "--outtype", "f32"]
    convert_hf_to_gguf.main()


def _not_found(_: Any) -> None:
    raise FileNotFoundError("tokenizer.model")


if __name__ == "__main__":
    main()
