"""What dashboards, rules and documents ask of metrics, compared with what processes show."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
OURS = re.compile(r"\b(?:weir_(?:gateway|node|triton)_\w+|(?:weir|node):[a-z]\w+(?::\w+)?)\b")
# Put there by Prometheus, by scraping in Kubernetes, or by rules.
ADDED_LABELS = frozenset({"job", "instance", "namespace", "pod", "container", "engine", "slo"})
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_GRAFANAS = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h"}


@dataclass(frozen=True, slots=True)
class Question:
    """One expression, and where it stands."""

    where: str
    expr: str

    @property
    def plain(self) -> str:
        """As Prometheus takes it: menus say `All`."""
        return _VARIABLE.sub(lambda found: _GRAFANAS.get(found[1], ".*"), self.expr)


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric that is asked for, and the labels that pick its series: name, operator and value."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Labels that something is grouped or joined by, and the metrics that must have them."""

    labels: frozenset[str]
    metrics: frozenset[str]


@dataclass
class Shown:
    """Series that processes show: each metric with its labels and their values."""

    series: dict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    families: set[str] = field(default_factory=set)

    def read(self, text: str) -> "Shown":
        for family in text_string_to_metric_families(text):
            is_bare = family.type == "counter" and f"# TYPE {family.name} counter" in text  # the parser adds `_total`
            samples = [one for one in family.samples if not one.name.endswith("_created")]
            for sample in samples:
                name = sample.name.removesuffix("_total") if is_bare else sample.name
                self.series[name].append(dict(sample.labels))
            if samples:
                is_total = family.type == "counter" and not is_bare
                self.families.add(samples[0].name if is_total else family.name)
        return self

    def labels(self, metric: str) -> set[str]:
        return {name for one in self.series.get(metric, ()) for name in one}


def dashboard_questions(folder: Path = GRAFANA / "dashboards") -> list[Question]:
    return [
        question
        for path in sorted(folder.glob("*.json"))
        for question in _of_board(path.stem, json.loads(path.read_text(encoding="utf-8")))
    ]


def _of_board(name: str, board: Mapping[str, Any]) -> Iterator[Question]:
    for panel in panels_of(board):
        for target in panel.get("targets", ()):
            yield Question(f"{name}: {panel['title']}", target["expr"])
    for mark in board["annotations"]["list"]:
        yield Question(f"{name}: mark {mark['name']}", mark["expr"])
    for menu in board["templating"]["list"]:
        if menu["type"] == "query":
            metric, _, label = menu["query"]["query"].removeprefix("label_values(").removesuffix(")").partition(", ")
            yield Question(f"{name}: menu {menu['name']}", f"count by ({label}) ({metric})")


def panels_of(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel that is no row."""
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from (inner for inner in panel.get("panels", ()))


def rules(folder: Path = GRAFANA / "rules") -> list[dict[str, Any]]:
    groups = [yaml.safe_load(path.read_text(encoding="utf-8"))["groups"] for path in sorted(folder.glob("*.yaml"))]
    return [rule for one in groups for group in one for rule in group["rules"]]


def rule_questions(folder: Path = GRAFANA / "rules") -> list[Question]:
    return [Question(f"rule {rule.get('record') or rule['alert']}", rule["expr"]) for rule in rules(folder)]


def document_names(paths: Iterable[Path]) -> dict[str, str]:
    """Our metrics that documents name, each with one document."""
    return {name: path.name for path in paths for name in OURS.findall(path.read_text(encoding="utf-8"))}


def taken_apart(expr: str) -> tuple[list[Selector], list[Grouping]]:
    """Raises ValueError for what is no PromQL."""
    found: list[Selector] = []
    groupings: list[Grouping] = []
    _walk(promql_parser.parse(expr), found, groupings)
    return found, groupings


def _walk(node: Any, found: list[Selector], groupings: list[Grouping]) -> set[str]:
    """Collect what is below `node`; return the metrics there."""
    match node:
        case promql_parser.VectorSelector():
            matchers = tuple((m.name, str(m.op).rpartition(".")[2], m.value) for m in node.matchers.matchers)
            named = node.name or next(value for label, _, value in matchers if label == "__name__")
            found.append(Selector(named, tuple(one for one in matchers if one[0] != "__name__")))
            return {named}
        case promql_parser.MatrixSelector():
            return _walk(node.vector_selector, found, groupings)
        case promql_parser.AggregateExpr():
            below = _walk(node.expr, found, groupings)
            _group(node.modifier, below, groupings)
            return below
        case promql_parser.BinaryExpr():
            below = _walk(node.lhs, found, groupings) | _walk(node.rhs, found, groupings)
            if node.modifier is not None:
                _group(node.modifier.matching, below, groupings)
                if node.modifier.group_labels:
                    groupings.append(Grouping(frozenset(node.modifier.group_labels), frozenset(below)))
            return below
        case promql_parser.Call():
            return set().union(*(_walk(argument, found, groupings) for argument in node.args))
        case promql_parser.ParenExpr() | promql_parser.SubqueryExpr() | promql_parser.UnaryExpr():
            return _walk(node.expr, found, groupings)
        case _:
            return set()


def _group(modifier: Any, below: set[str], groupings: list[Grouping]) -> None:
    if modifier is not None and modifier.labels and below:
        groupings.append(Grouping(frozenset(modifier.labels), frozenset(below)))
