"""The numbers of grafana/rules/objectives.yaml, which dashboards colour by."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

RULES = Path(__file__).parents[2] / "grafana" / "rules"
_VECTOR = re.compile(r"vector\(([0-9.]+)\)")


@dataclass(frozen=True, slots=True)
class Objectives:
    """Ratios are 0..1, times are seconds."""

    availability: float
    first_token: float
    first_token_s: float
    output_token_s: float


def read_objectives(rules: Path = RULES) -> Objectives:
    """Raises ValueError when an objective is not a plain number."""
    groups = yaml.safe_load((rules / "objectives.yaml").read_text(encoding="utf-8"))["groups"]
    found = {}
    for rule in groups[0]["rules"]:
        if not rule["record"].startswith(("weir:slo_objective", "weir:slo_threshold")):
            continue
        number = _VECTOR.fullmatch(rule["expr"])
        if number is None:
            raise ValueError(f"objectives.yaml: {rule['expr']!r} is not vector(NUMBER)")
        found[rule["record"], rule["labels"]["slo"]] = float(number[1])
    return Objectives(
        availability=found["weir:slo_objective:ratio", "availability"],
        first_token=found["weir:slo_objective:ratio", "first_token"],
        first_token_s=found["weir:slo_threshold:seconds", "first_token"],
        output_token_s=found["weir:slo_threshold:seconds", "output_token"],
    )
