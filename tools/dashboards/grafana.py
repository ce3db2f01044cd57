"""Turns boards into Grafana's JSON."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from tools.dashboards.spec import Board, Choice, Kind, Limit, Panel

_SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
_TAG: Final = "weir"
# Whose series carry the namespace that Kubernetes gives them. Objectives are Weir's as a whole.
_OURS: Final = re.compile(
    r"(?<![\w:])(weir_(?:gateway|node|triton)_\w+|nv_\w+|vllm:\w+|node:\w+(?::\w+)?)(?![\w:(])(\{)?"
)
_INSTANT: Final = frozenset({"stat", "table"})


def rendered(board: Board) -> str:
    """Return the board as the text of its file."""
    built = dashboard.Dashboard(board.title).uid(board.uid).description(board.about).tags([_TAG]).readonly()
    built = (
        built.refresh("30s").time(board.span, "now").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    )
    built = built.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    namespace = Choice("namespace", "weir_gateway_build_info", "namespace")
    for choice in (namespace, *board.choices):
        built = built.with_variable(_variable(choice))
    links = dashboard.DashboardLink("Weir").type(model.DashboardLinkType.DASHBOARDS).tags([_TAG])
    built = built.link(links.include_vars(True).keep_time(True).as_dropdown(False))
    for name, expr in board.marks:
        mark = dashboard.AnnotationQuery().name(name).datasource(_SOURCE).enable(True).icon_color("purple")
        built = built.annotation(mark.expr(scoped(expr)))
    for row in board.rows:
        built = built.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            built = built.with_panel(_panel(panel))
    return _written(JSONEncoder(sort_keys=True, indent=1).encode(built.build()))


def scoped(expr: str) -> str:
    """Restrict every series of Weir to the namespace that was chosen."""

    def scope(found: re.Match[str]) -> str:
        name, brace = found.groups()
        return f'{name}{{namespace=~"$namespace",' if brace else f'{name}{{namespace=~"$namespace"}}'

    return _OURS.sub(scope, expr)


def _written(text: str) -> str:
    """Number the panels, as Grafana would when it first saves them."""
    found: dict[str, Any] = json.loads(text)
    found["annotations"].setdefault("list", [])
    for number, panel in enumerate(found["panels"], 1):
        panel["id"] = number
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _variable(choice: Choice) -> dashboard.QueryVariable:
    query: dict[str, object] = {"query": f"label_values({choice.metric}, {choice.label})", "refId": choice.name}
    built = dashboard.QueryVariable(choice.name).label(choice.name.capitalize()).datasource(_SOURCE).query(query)
    return (
        built.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .multi(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def _panel(panel: Panel) -> Any:
    """Return the SDK's builder of one panel; its kinds share no base class."""
    built = _KINDS[panel.kind](panel)
    built = built.title(panel.title).description(panel.about).unit(panel.unit).datasource(_SOURCE)
    built = built.span(panel.width).height(panel.height)
    if panel.kind != "heatmap":
        built = built.thresholds(_thresholds(panel.start, panel.limits))
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(scoped(query.expr)).legend_format(query.legend).ref_id(chr(65 + number))
        target = target.instant() if panel.kind in _INSTANT else target.range()
        match panel.kind:
            case "heatmap":
                target = target.format(PromQueryFormat.HEATMAP)
            case "table":
                target = target.format(PromQueryFormat.TABLE)
            case _:
                target = target.format(PromQueryFormat.TIME_SERIES)
        built = built.with_target(target)
    return built


def _thresholds(start: str, limits: Sequence[Limit]) -> dashboard.ThresholdsConfig:
    steps = [model.Threshold(None, start), *(model.Threshold(one.value, one.color) for one in limits)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _graph(panel: Panel) -> Any:
    built = timeseries.Panel().min(0).fill_opacity(10).show_points(models.VisibilityMode.NEVER)
    legend = common.VizLegendOptions().display_mode(models.LegendDisplayMode.LIST)
    legend = legend.placement(models.LegendPlacement.BOTTOM).show_legend(True)
    tooltip = common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI).sort(models.SortOrder.DESCENDING)
    built = built.legend(legend).tooltip(tooltip)
    if panel.limits:
        style = common.GraphThresholdsStyleConfig().mode(models.GraphTresholdsStyleMode.DASHED)
        built = built.thresholds_style(style)
    return built if panel.max_value is None else built.max(panel.max_value)


def _bars(panel: Panel) -> Any:
    """Areas on top of each other: parts of a whole."""
    stacked = common.StackingConfig().mode(models.StackingMode.NORMAL)
    return _graph(panel).stacking(stacked).fill_opacity(60).line_width(0)


def _stat(panel: Panel) -> Any:
    del panel
    last = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    return stat.Panel().reduce_options(last).color_mode(models.BigValueColorMode.VALUE).no_value("–")


def _heatmap(panel: Panel) -> Any:
    colors = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    axis = heatmap.YAxisConfig().unit(panel.unit)
    return heatmap.Panel().calculate(False).color(colors).y_axis(axis).cell_gap(1)


def _states(panel: Panel) -> Any:
    options = {
        str(value): model.ValueMappingResult(text=text, color=color, index=number)
        for number, (value, text, color) in enumerate(panel.states)
    }
    built = statetimeline.Panel().mappings([model.ValueMap(options=options)]).merge_values(True)
    return built.show_value(models.VisibilityMode.AUTO)


def _table(panel: Panel) -> Any:
    hidden = dict.fromkeys(("Time", "__name__", "job", *panel.hidden), True)
    tidy = model.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden})
    return table.Panel().with_transformation(tidy).no_value("–")


_KINDS: Final[Mapping[Kind, Callable[[Panel], Any]]] = {
    "graph": _graph,
    "bars": _bars,
    "stat": _stat,
    "heatmap": _heatmap,
    "states": _states,
    "table": _table,
}
