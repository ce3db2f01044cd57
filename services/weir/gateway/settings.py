"""Everything an operator may set for the gateway: defaults < YAML file < WEIR_GATEWAY_* < flags."""

from collections.abc import Mapping
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml
from pydantic import AliasChoices, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from weir.contracts.errors import SettingError, UsageError
from weir.contracts.repository import RepositoryKey
from weir.gateway.settings_access import AccessSettings
from weir.gateway.settings_edge import EdgeSettings
from weir.gateway.settings_embedder import EmbedderSettings
from weir.gateway.settings_nodes import NodeSettings
from weir.gateway.settings_tier import SecondTierSettings
from weir.telemetry.tracing import TracingSettings

Seconds = Annotated[float, Field(gt=0, le=3600)]


class GatewaySettings(BaseSettings):
    """Read once in `main`, then passed down; no other module reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix="WEIR_GATEWAY_", env_nested_delimiter="__", extra="forbid", frozen=True, populate_by_name=True
    )

    home: Path = Field(default=Path(".weir"), validation_alias=AliasChoices("weir_gateway_home", "weir_home"))
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    nodes: tuple[NodeSettings, ...] = ()
    nodes_file: Path | None = Field(default=None, description="more nodes (YAML), looked at every second")
    resolve_interval_s: Seconds = 5.0  # between two look-ups of the names in `dns+` URLs
    releases: tuple[Path, ...] = Field(min_length=1, description="the first one is the default model")
    guard: Path | None = Field(default=None, description="policy file; none: the packaged one")
    # Upper bounds for a machine's memory. What nodes can do in time, and so how much may wait, is learned below them.
    max_in_flight: int = Field(default=1024, ge=1, le=100_000, description="requests that run; learned below this")
    max_queue: int = Field(default=4096, ge=0, le=100_000, description="requests that wait; learned below this")
    max_tokens: int = Field(default=4_000_000, ge=1, description="prompts and longest answers of all these")
    queue_timeout_s: Seconds = 10.0  # nobody is let in who would probably wait longer
    cache_mb: int = Field(default=0, ge=0, le=1 << 20, description="of answers to deterministic requests; 0: none")
    node_timeout_s: Seconds = 120.0  # without a word from the node
    probe_interval_s: Seconds = 0.5
    max_body_bytes: int = Field(default=1 << 20, ge=1024)
    body_timeout_s: Seconds = 10.0
    drain_timeout_s: Seconds = 25.0  # below the pod's terminationGracePeriodSeconds
    drain_delay_s: float = Field(default=0.0, ge=0, le=600, description="seconds to go on accepting after SIGTERM")
    repository_key: RepositoryKey | None = Field(
        default=None, description="what nodes want to see before they load or unload a model"
    )
    access: AccessSettings = AccessSettings()
    edge: EdgeSettings = EdgeSettings()
    second_tier: SecondTierSettings | None = Field(default=None, description="a classifier beside the rules; none: off")
    embedders: tuple[EmbedderSettings, ...] = Field(default=(), description="what answers /v1/embeddings")
    tracing: TracingSettings | None = Field(default=None, description="OpenTelemetry; none: off")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _node_names_are_unique(self) -> Self:
        names = [node.name for node in self.nodes]
        if len(set(names)) != len(names):
            raise ValueError(f"node names must differ: {', '.join(names)}")
        if not names and self.nodes_file is None:
            raise ValueError(
                "the gateway needs --node URL (or `nodes` or `nodes_file` in the settings file, or WEIR_GATEWAY_NODES)"
            )
        return self

    @model_validator(mode="after")
    def _embedders_have_nodes(self) -> Self:
        if not all(embedder.urls for embedder in self.embedders_at_nodes):
            raise ValueError("an embedder needs `urls`, as `nodes` lists no http:// node that could serve it")
        return self

    @property
    def embedders_at_nodes(self) -> tuple[EmbedderSettings, ...]:
        """The embedders, each with its nodes."""
        shared = tuple(node.url for node in self.nodes if node.url.startswith("http"))
        return tuple(one if one.urls else one.model_copy(update={"urls": shared}) for one in self.embedders)

    @property
    def digest(self) -> str:
        """Tells different settings from equal ones; secrets are not in it."""
        return sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def admin_port(self) -> int:
        """0: there is none."""
        if self.edge.admin_port is None:
            return self.port + 1 if self.port < 65535 else self.port - 1
        return self.edge.admin_port

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)


def load_settings(flags: Mapping[str, Any], config: Path | None = None) -> GatewaySettings:
    """Read the settings; `flags` holds only what was given on the command line.

    Raises:
        UsageError: a value is missing, unknown or out of bounds; the message names it.
    """
    if config is not None and not config.is_file():
        raise UsageError(f"{config}: no such settings file")

    class FromFile(GatewaySettings):
        model_config = SettingsConfigDict(yaml_file=config)

    try:
        return FromFile(**flags)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingError(_explained(error), name, is_missing=first["type"] == "missing") from None
    except (SettingsError, yaml.YAMLError) as error:
        raise UsageError(f"the gateway's settings cannot be read: {error}") from None


def _explained(error: pydantic.ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing" and field == "releases":
        return "the gateway needs --release DIR (or `releases` in the settings file, or WEIR_GATEWAY_RELEASES)"
    if first["type"] == "extra_forbidden":
        near = get_close_matches(field, GatewaySettings.model_fields, n=1)
        return f"no setting {field!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
    return f"{field}: {first['msg']}" if field else str(first["msg"]).removeprefix("Value error, ")
