"""Whether settings can be read, and where in a file they are wrong."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from weir.contracts.errors import SettingError, UsageError
from weir.contracts.finding import Finding, fail, ok
from weir.supervisor.checks.yaml_place import fault_in, line_of

S = TypeVar("S")


class Read(NamedTuple, Generic[S]):
    """Settings, or none; `is_missing`: nothing was said where something must be."""

    settings: S | None
    finding: Finding
    is_missing: bool = False


def read(
    check: str, load: Callable[[Mapping[str, Any], Path | None], S], flags: Mapping[str, Any], config: Path | None
) -> Read[S]:
    """Read settings as the server itself does."""
    if config is not None and config.is_file() and (fault := fault_in(config)) is not None:
        return Read(None, fail(check, fault, f"mend {config}"))
    try:
        settings = load(flags, config)
    except SettingError as error:
        line = None if config is None or not config.is_file() else line_of(config, error.setting)
        says = f"{config}, line {line}: {error}" if line else str(error)
        return Read(None, fail(check, says, _cure(config if line else None)), error.is_missing)
    except UsageError as error:
        return Read(None, fail(check, str(error), _cure(config)))
    return Read(settings, ok(check, "read" if config is None else f"{config} read"))


def _cure(config: Path | None) -> str:
    return "mend the flag or the WEIR_* variable" if config is None else f"mend {config}"
