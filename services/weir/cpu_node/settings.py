"""Settings of a CPU node: defaults < YAML < `WEIR_NODE_*` < flags; read once, in main."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from weir.contracts.errors import SettingError, UsageError
from weir.contracts.repository import RepositoryKey
from weir.engine.settings import EngineSettings
from weir.telemetry.tracing import TracingSettings

Seconds = Annotated[float, Field(gt=0, le=3600)]


class NodeSettings(BaseSettings):
    """`home` also follows `WEIR_HOME`, as every part of Weir."""

    model_config = SettingsConfigDict(
        env_prefix="WEIR_NODE_", env_nested_delimiter="__", extra="forbid", frozen=True, populate_by_name=True
    )

    home: Path = Field(default=Path(".weir"), validation_alias=AliasChoices("weir_node_home", "weir_home"))
    model_repository: Path | None = Field(default=None, description="releases linked here may be loaded too")
    host: str = "127.0.0.1"
    port: int = Field(default=8100, ge=0, le=65_535, description="0: any free port")
    flavour: str | None = Field(default=None, description="none: the manifest's serve_flavour")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: what the flavour is made for")
    threads: int = Field(default=0, ge=0, le=1024, description="0: one per physical core that the process may use")
    max_running: int = Field(default=16, ge=1, le=256, description="sequences that decode together")
    max_waiting: int = Field(default=64, ge=0, le=10_000, description="requests queued beyond those")
    prefill_chunk_tokens: int = Field(default=512, ge=1, le=4096, description="most prompt tokens read in one step")
    kv_budget_mib: int = Field(default=2048, ge=1)
    prefix_cache: bool = Field(default=True, description="prompts that begin alike are read once, where exact")
    max_context_tokens: int | None = Field(default=None, ge=16, description="none: the manifest's")
    drain_timeout_s: Seconds = 25.0
    stall_s: Seconds = Field(default=30.0, description="running requests and no token for so long: not live")
    max_body_bytes: int = Field(default=1 << 20, ge=1024)
    repository_key: RepositoryKey | None = Field(
        default=None,
        description="what `/v2/repository` wants to see in the header `weir-repository-key`; none: nothing",
    )
    tracing: TracingSettings | None = Field(default=None, description="OpenTelemetry; none: off")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def releases(self) -> Path:
        return self.home / "releases"

    @property
    def release_roots(self) -> tuple[Path, ...]:
        """The only folders beneath which a release may be loaded over HTTP."""
        return (self.releases,) if self.model_repository is None else (self.releases, self.model_repository)

    def engine(self) -> EngineSettings:
        return EngineSettings(
            threads=self.threads,
            device=self.device,
            max_running=self.max_running,
            max_waiting=self.max_waiting,
            prefill_chunk_tokens=self.prefill_chunk_tokens,
            kv_budget_bytes=self.kv_budget_mib << 20,
            max_context_tokens=self.max_context_tokens,
            prefix_cache=self.prefix_cache,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is the library's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)


def load_node_settings(flags: Mapping[str, Any], config: Path | None = None) -> NodeSettings:
    """Put the four sources together; flags that are None were not given.

    Raises:
        UsageError: the YAML file cannot be read, or a setting is unknown, of the wrong type or out of bounds.
    """
    if config is not None and not config.is_file():
        raise UsageError(f"{config}: no such file")

    class FromFile(NodeSettings):
        model_config = SettingsConfigDict(yaml_file=config)

    try:
        return FromFile(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        name = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise SettingError(_explained(error), name) from error
    except yaml.YAMLError as error:
        raise UsageError(f"{config}: not YAML") from error


def _explained(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name, NodeSettings.model_fields, n=1)
        return f"node settings: no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    return f"node settings: {name}: {first['msg']}"
