"""Whether what dashboards and rules ask for is there: metrics, labels, and values of labels."""

import re
from collections.abc import Iterable, Sequence

from tests.support.queries import ADDED_LABELS, Grouping, Question, Selector, Shown, taken_apart

_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def faults(questions: Iterable[Question], shown: Shown, recorded: dict[str, set[str]]) -> list[str]:
    """Return what is asked for and not there; `recorded` are the labels of what rules record."""
    found = []
    for question in questions:
        selectors, groupings = taken_apart(question.plain)
        for selector in selectors:
            found += [f"{question.where}: {fault}" for fault in _of_selector(selector, shown, recorded)]
        for grouping in groupings:
            found += [f"{question.where}: {fault}" for fault in _of_grouping(grouping, shown, recorded)]
    return found


def _of_selector(selector: Selector, shown: Shown, recorded: dict[str, set[str]]) -> list[str]:
    if selector.metric in recorded:
        labels = recorded[selector.metric] | ADDED_LABELS
        return [f"{selector.metric} has no label {name}" for name, _, _ in selector.matchers if name not in labels]
    series = shown.series.get(selector.metric)
    if not series:
        return [f"nothing shows {selector.metric}"]
    has = shown.labels(selector.metric) | ADDED_LABELS
    missing = [f"{selector.metric} has no label {name}" for name, _, _ in selector.matchers if name not in has]
    wanted = [one for one in selector.matchers if one[0] not in ADDED_LABELS]
    if missing or any(all(_fits(one, labels) for one in wanted) for labels in series):
        return missing
    return [f"no series of {selector.metric} is {', '.join(f'{n} {op} {v!r}' for n, op, v in wanted)}"]


def _fits(matcher: tuple[str, str, str], labels: dict[str, str]) -> bool:
    name, operator, value = matcher
    is_same = labels.get(name, "") == value
    match operator:
        case "Equal":
            return is_same
        case "NotEqual":
            return not is_same
        case "Re":
            return re.fullmatch(value, labels.get(name, "")) is not None
        case _:
            return re.fullmatch(value, labels.get(name, "")) is None


def _of_grouping(grouping: Grouping, shown: Shown, recorded: dict[str, set[str]]) -> list[str]:
    has = set(ADDED_LABELS).union(*(recorded.get(metric, shown.labels(metric)) for metric in grouping.metrics))
    missing = sorted(grouping.labels - has)
    return [f"none of {', '.join(sorted(grouping.metrics))} has a label {name}" for name in missing]


def unused(questions: Iterable[Question], shown: Shown, excused: Sequence[str]) -> list[str]:
    """Return what is shown, not asked for, and not excused; a name that ends in * excuses all that begin so."""
    asked = {selector.metric for question in questions for selector in taken_apart(question.plain)[0]}
    asked |= {_HISTOGRAM.sub("", name) for name in asked}
    return sorted(
        name
        for name in shown.families - asked
        if not any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in excused)
    )
