"""Cuts answers as a real tokenizer does: OpenAI's cl100k_base, which LiteLLM's wheel carries as a file.

Tokens that only together make a character are one piece: a stream shows nothing before it is whole.
"""

from collections.abc import Iterator
from typing import Any

import tiktoken

from weir_training.benching.workers.lines import serve


def _pieces(encoding: Any, text: str) -> Iterator[str]:
    waiting = b""
    for token in encoding.encode_ordinary(text):
        waiting += encoding.decode_single_token_bytes(token)
        try:
            piece = waiting.decode()
        except UnicodeDecodeError:
            continue
        waiting = b""
        yield piece


if __name__ == "__main__":
    known = tiktoken.get_encoding("cl100k_base")  # from TIKTOKEN_CACHE_DIR; nothing is fetched
    serve({"cut": lambda texts: {"answers": [list(_pieces(known, text)) for text in texts]}})
