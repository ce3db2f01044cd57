"""Servers as contestants: Weir's node, llama.cpp's own, and OpenVINO GenAI behind a minimal one."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weir_training.benching.contestants import THIS_PYTHON, Setup
from weir_training.benching.environments import code_path, environment, llama_cpp
from weir_training.benching.http_contestant import HttpContestant, Protocol
from weir_training.benching.peers.llama_cpp import convert as convert_llama
from weir_training.benching.peers.llama_cpp import label_of as llama_label
from weir_training.benching.peers.openvino import convert as convert_openvino
from weir_training.benching.peers.openvino import label_of as openvino_label
from weir_training.benching.peers.openvino import load_of
from weir_training.benching.peers.weir import KV_BYTES, MAX_WAITING
from weir_training.benching.peers.weir import label_of as weir_label
from weir_training.benching.target import Target
from weir_training.progress import Progress

_WORKERS: Final = "weir_training.benching.workers"


def node(target: Target, flavour: str, setup: Setup) -> HttpContestant:
    """`weir node` on the release, on the Open Inference Protocol, one event per chunk."""
    settings = {
        "WEIR_NODE_KV_BUDGET_MIB": str(KV_BYTES >> 20),
        "WEIR_NODE_MAX_WAITING": str(MAX_WAITING),
        "WEIR_NODE_MAX_CONTEXT_TOKENS": str(setup.context_tokens),
    }

    def command(port: int) -> Sequence[str | Path]:
        bounds = ("--threads", str(setup.threads), "--max-running", str(setup.users), "--log-level", "warning")
        where = ("--port", str(port), "--flavour", flavour)
        return (THIS_PYTHON, "-m", "weir", "node", target.release.resolve(), *where, *bounds)

    protocol = Protocol("/v2/health/ready", f"/v2/models/{target.manifest.model}/generate_stream", _to_node, _of_node)
    log = target.folder / "logs" / f"node-{flavour}.log"
    return HttpContestant(weir_label(target, flavour, "node HTTP"), command, protocol, log, environment=settings)


def _to_node(request: Mapping[str, Any]) -> dict[str, Any]:
    sampling = {"max_tokens": request["new_tokens"], "temperature": 0.0, "ignore_eos": True}
    return {"text_input": request["text"], "sampling_parameters": sampling, "stream": True}


def _of_node(before: int, event: dict[str, Any]) -> int:
    if "error" in event:
        raise ValueError(f"the node ended a stream: {event['error']}")
    return before + int(event.get("num_output_tokens", 0))


def llama_server(target: Target, precision: str, setup: Setup, peers: Path, progress: Progress) -> HttpContestant:
    """llama-server with a slot per user and its prompt cache on, asked for `/completion` with token ids."""
    source = llama_cpp(peers, progress)
    model = convert_llama(target, precision, source, progress)

    def command(port: int) -> Sequence[str | Path]:
        slots = ("-np", str(setup.users), "-c", str(setup.users * setup.context_tokens))
        where = ("--host", "127.0.0.1", "--port", str(port), "--no-webui")
        return (source / "build/bin/llama-server", "-m", model, "-t", str(setup.threads), *slots, *where)

    log = target.folder / "logs" / f"llama-server-{precision}.log"
    label = llama_label(target, precision, model, "server")
    return HttpContestant(label, command, Protocol("/health", "/completion", _to_llama, _of_llama), log)


def _to_llama(request: Mapping[str, Any]) -> dict[str, Any]:
    greedy = {"temperature": 0.0, "top_k": 1, "samplers": ["top_k"]}
    length = {"n_predict": request["new_tokens"], "ignore_eos": True}
    return {"prompt": request["ids"], "stream": True, "cache_prompt": True, **greedy, **length}


def _of_llama(before: int, event: dict[str, Any]) -> int:
    """One event is one token, but for text that is held back; the last event has the exact count."""
    if "error" in event:
        raise ValueError(f"llama-server ended a stream: {event['error']}")
    return int(event.get("tokens_predicted", before + 1)) if event.get("stop") else before + 1


def openvino_server(target: Target, precision: str, setup: Setup, peers: Path, progress: Progress) -> HttpContestant:
    """OpenVINO GenAI with its prefix cache on, behind `workers.openvino_server`."""
    python = environment("openvino", peers, progress)
    folder = convert_openvino(target, precision, python, peers, progress)
    load = json.dumps(load_of(folder, setup, prefix_caching=True))

    def command(port: int) -> Sequence[str | Path]:
        return (python, "-m", f"{_WORKERS}.openvino_server", str(port), load)

    log = target.folder / "logs" / f"openvino-server-{precision}.log"
    protocol = Protocol("/health", "/generate", _to_openvino, lambda before, event: before + int(event["tokens"]))
    label = openvino_label(target, precision, folder, "server")
    return HttpContestant(label, command, protocol, log, environment=code_path(peers))


def _to_openvino(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"ids": request["ids"], "new_tokens": request["new_tokens"]}


Maker = Callable[[Target, str, Setup, Path, Progress], HttpContestant]
