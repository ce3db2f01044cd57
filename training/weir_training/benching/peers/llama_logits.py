"""llama-server's next-token distributions, position by position."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import numpy as np

from weir.contracts.errors import JobError
from weir_training.benching.children import end, spawn, tail
from weir_training.benching.contestants import Sample
from weir_training.benching.http_contestant import free_port
from weir_training.benching.workers.divergence import Divergence

_READY_S, _ASK_S = 120.0, 60.0
_FLOOR: Final = -60.0  # of a token whose probability is not told: the server leaves out what rounds to nothing


def server_divergence(server: Path, model: Path, sample: Sample, threads: int, log: Path) -> float:
    """Start the server on one slot, ask for one token after each prefix, with the whole vocabulary's probabilities.

    Raises:
        JobError: it does not start, or answers something else.
    """
    port = free_port()
    context = max(map(len, sample.texts)) + 8
    bounds = ("-c", str(context), "-np", "1", "-t", str(threads), "--no-webui")
    process = spawn([server, "-m", model, "--host", "127.0.0.1", "--port", str(port), *bounds], log)
    found = Divergence(str(sample.reference))
    try:
        _wait_ready(port, log)
        for number, text in enumerate(sample.texts):
            found.add(number, np.stack([_after(port, text[: at + 1], found.vocab_size) for at in range(len(text) - 1)]))
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise JobError(f"llama-server: {error}\n{tail(log)}") from error
    finally:
        end(process)
    return found.figures()["kl"]


def _after(port: int, prefix: tuple[int, ...], vocab_size: int) -> Any:
    """Log-probabilities after `prefix`, shape (vocabulary,).

    They are the model's, before any sampling; the token itself is made an `a`, because nothing is told of one whose
    text ends within a character.
    """
    greedy = {"temperature": 0.0, "n_predict": 1, "cache_prompt": True, "logit_bias": [["a", 1e4]]}
    answer = _ask(port, "/completion", {"prompt": list(prefix), "n_probs": vocab_size, **greedy})
    values = np.full(vocab_size, _FLOOR)
    for entry in answer["completion_probabilities"][0]["top_logprobs"]:
        values[entry["id"]] = entry["logprob"]
    return values


def _wait_ready(port: int, log: Path) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        try:
            _ask(port, "/health", None)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise JobError(f"llama-server: not ready after {_READY_S:.0f} s\n{tail(log)}")


def _ask(port: int, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=_ASK_S) as answer:  # noqa: S310  http, on the loopback interface
        found: dict[str, Any] = json.load(answer)
    return found
