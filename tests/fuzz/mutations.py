"""Bodies that were right once: one or more things in them are changed, or their bytes are."""

import copy
import json
import math
import random
from collections.abc import Callable
from typing import Any

MESSAGE = {"role": "user", "content": "How do I return an order?"}
TOOL = {"type": "function", "function": {"name": "pick", "parameters": {"type": "object", "properties": {}}}}
BODIES: dict[str, dict[str, Any]] = {
    "/": {"inputs": "Hello", "parameters": {"max_new_tokens": 4, "details": True}, "stream": True},
    "/generate": {
        "inputs": "Hello",
        "parameters": {
            "max_new_tokens": 4,
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 5,
            "seed": 1,
            "stop": ["x"],
            "do_sample": True,
            "repetition_penalty": 1.1,
            "frequency_penalty": 0.1,
            "top_n_tokens": 2,
            "grammar": {"type": "regex", "value": "[a-z]+"},
            "best_of": 1,
            "truncate": 10,
            "adapter_id": None,
            "typical_p": 0.9,
        },
    },
    "/generate_stream": {"inputs": "Hello", "parameters": {"max_new_tokens": 4, "return_full_text": True}},
    "/v1/chat/completions": {
        "model": "faq",
        "messages": [{"role": "system", "content": "Brief."}, MESSAGE],
        "max_tokens": 4,
        "n": 2,
        "temperature": 1.0,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"17": 5},
        "stop": ["x"],
        "tools": [TOOL],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "/v1/completions": {"model": "faq", "prompt": ["a", "b"], "max_tokens": 4, "echo": True, "logprobs": 2, "n": 1},
    "/v1/responses": {"model": "faq", "input": [MESSAGE], "max_output_tokens": 4, "stream": False},
    "/v1/embeddings": {"model": "faq", "input": ["a"], "encoding_format": "base64"},
    "/tokenize": {"inputs": "Hello", "parameters": {}},
    "/chat_tokenize": {"model": "faq", "messages": [MESSAGE]},
    "/invocations": {"inputs": "Hello", "parameters": {"max_new_tokens": 4}},
    "/v2/models/faq/generate": {"text_input": "Hello", "parameters": {"max_tokens": 4}},
    "/v2/models/faq/versions/1/generate_stream": {"text_input": "Hello", "parameters": {"max_tokens": 4}},
}
_ODD: tuple[Callable[[random.Random], Any], ...] = (
    lambda dice: None,
    lambda dice: dice.choice([True, False]),
    lambda dice: dice.choice([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**40]),
    lambda dice: dice.choice([0.0, -0.5, 1e308, -1e-308, math.nan, math.inf, -math.inf]),
    lambda dice: dice.choice(["", "\0", "\ud800", "﷐", "🙂" * 40, "<|im_end|>", "a" * 5_000, "../../etc", "{{7*7}}"]),
    lambda dice: [],
    lambda dice: {},
    lambda dice: [dice.choice(["", None, 7, []])] * dice.choice([1, 5, 300]),
    lambda dice: {f"k{n}": n for n in range(dice.choice([1, 400]))},
    lambda dice: _nested(dice.choice([5, 31, 40, 900])),
)


def mutated(body: dict[str, Any], dice: random.Random) -> bytes:
    """Change values, names or structure in one to three places; now and then the bytes as well."""
    changed = copy.deepcopy(body)
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        _change_somewhere(changed, dice)
    raw = json.dumps(changed, ensure_ascii=dice.random() < 0.7).encode("utf-8", "surrogatepass")
    return _broken(raw, dice) if dice.random() < 0.25 else raw


def _change_somewhere(tree: Any, dice: random.Random) -> None:
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = dice.choice(keys)
        inner = tree[key]
        if isinstance(inner, dict | list) and inner and dice.random() < 0.6:
            tree = inner
            continue
        match dice.randrange(5):
            case 0:
                del tree[key]
            case 1 if isinstance(tree, dict):
                tree[dice.choice(["unknown", "__proto__", "", "n" * 300])] = tree.pop(key)
            case _:
                tree[key] = dice.choice(_ODD)(dice)
        return


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _broken(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw))
    match dice.randrange(6):
        case 0:
            return raw[:at]
        case 1:
            return raw[:at] + bytes([dice.randrange(256)]) + raw[at + 1 :]
        case 2:
            return raw + raw
        case 3:
            return raw[:-1] + b',"inputs":"twice","inputs":[1]}'
        case 4:
            return b"\xef\xbb\xbf" + raw
        case _:
            return dice.randbytes(dice.choice([0, 1, 100, 4000]))
