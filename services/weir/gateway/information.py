"""What the gateway says of itself and of its models."""

from collections.abc import Sequence
from typing import Any

from weir import __version__
from weir.contracts.errors import UnknownModelError
from weir.gateway.catalog import Catalog, ServedModel
from weir.gateway.embedder_releases import EmbeddingModel
from weir.gateway.embedding import Embeddings
from weir.gateway.surfaces.limits import MAX_ANSWERS, MAX_BATCH, MAX_STOPS
from weir.gateway.surfaces.openai_wire import model_and_adapter
from weir.routing.node import Node


def tgi_info(model: ServedModel, max_in_flight: int, nodes: Sequence[Node] = ()) -> dict[str, Any]:
    """Return TGI's keys; where the model comes from under `release`, what serves it under `nodes`."""
    return {
        "model_id": model.name,
        "model_sha": None,
        "model_pipeline_tag": "text-generation",
        "model_version": model.version,
        "max_concurrent_requests": max_in_flight,
        "max_best_of": MAX_ANSWERS,
        "max_stop_sequences": MAX_STOPS,
        "max_input_tokens": model.context_tokens - 1,
        "max_total_tokens": model.context_tokens,
        "validation_workers": 1,
        "max_client_batch_size": MAX_BATCH,
        "router": "weir",
        "version": __version__,
        "sha": None,
        "docker_label": None,
        "release": provenance(model),
        "nodes": [_node(node) for node in nodes],
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "pool": node.pool,
        "models": node.models,
        "flavour": node.flavour or None,
        "version": node.version,
        "ready": node.is_available,
    }


def provenance(model: ServedModel) -> dict[str, Any]:
    """Return who made a release from what, and what was proven of the flavour that it is meant to be served in."""
    manifest = model.prompts.manifest
    lineage = manifest.lineage
    served = manifest.format_of(manifest.serve_flavour)
    proven = {} if served is None else served.parity.model_dump(include={"argmax_agreement", "mean_kl", "greedy_equal"})
    return {
        "version": manifest.version,
        "created": manifest.created.isoformat(),
        "base": lineage.base,
        "training_run": lineage.run,
        "recipe_sha256": lineage.recipe_sha256,
        "data_sha256": lineage.data_sha256,
        "flavour": manifest.serve_flavour,
        "parity": proven,
        "adapters": list(model.adapters),
    }


def openai_models(catalog: Catalog, embeddings: Embeddings) -> list[dict[str, Any]]:
    made = [entry for model in catalog.models for entry in _entries(model)]
    return made + [_embedder(model) for model in embeddings.models.values()]


def openai_model(catalog: Catalog, embeddings: Embeddings, name: str) -> dict[str, Any]:
    """Return what `/v1/models` lists under a name.

    Raises:
        UnknownModelError: there is no such model, or it has no such adapter.
    """
    if name in embeddings.models:
        return _embedder(embeddings.models[name])
    asked = model_and_adapter(name)
    model, adapter = catalog.resolve(asked["model"]), asked.get("adapter")
    entries = _entries(model)
    found = next((entry for entry in entries if adapter is None or entry["id"] == f"{model.name}:{adapter}"), None)
    if found is None:
        raise UnknownModelError("this gateway does not serve the model that was asked for")
    return found


def _embedder(model: EmbeddingModel) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "weir",
        "version": model.version,
        "max_model_len": model.context_tokens,
        "dimensions": model.dimensions,
    }


def _entries(model: ServedModel) -> list[dict[str, Any]]:
    """Return the model, then its adapters as models of their own, `model:adapter`."""
    whole = {
        "id": model.name,
        "object": "model",
        "created": int(model.prompts.manifest.created.timestamp()),
        "owned_by": "weir",
        "version": model.version,
        "max_model_len": model.context_tokens,
    }
    return [whole, *({**whole, "id": f"{model.name}:{name}", "parent": model.name} for name in model.adapters)]
