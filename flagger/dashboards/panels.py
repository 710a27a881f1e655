"""One function a kind of panel: what a table in rollouts.py or model.py says, as Grafana's typed objects.

Every panel reads the data source that the dashboard's variable names. Colours mean the same everywhere: the canary is
orange, the primary blue; green is well, yellow wants a look, red is bad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as shared
from grafana_foundation_sdk.builders import dashboard as parts
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import prometheus as promql
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Property

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24  # columns of Grafana's grid
ROLES = {"canary": "orange", "primary": "blue"}


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and what its series are called: `{{label}}` is filled in by Grafana."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """What every panel has. `text` is shown when one points at its title; sizes are in the grid's units."""

    title: str
    text: str
    queries: Sequence[Query]
    width: int = 12
    height: int = 8
    repeat: str = ""  # a variable: one panel for each of its values


@dataclass(frozen=True)
class State:
    """What a number stands for."""

    text: str
    color: str


States = Mapping[int, State]


@dataclass(frozen=True)
class Built(Builder[dashboard.Panel]):
    """A panel that is done, where Grafana's dashboard asks for a builder."""

    panel: dashboard.Panel

    def build(self) -> dashboard.Panel:
        return self.panel


Rows = Mapping[str, Sequence[Built]]  # by the row's title


def number(
    about: Panel, unit: str, *, states: States | None = None, limits: Mapping[float, str] | None = None
) -> Built:
    """The value now, large. `limits` colours it from each value on."""
    panel = stat.Panel().unit(unit).decimals(0).color_mode(common.BigValueColorMode.BACKGROUND)
    panel.graph_mode(common.BigValueGraphMode.NONE).reduce_options(shared.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.thresholds(_thresholds({} if states else limits or {}, base="text")).mappings(_mappings(states or {}))
    return _built(about, panel.build(), instant=True)


def timeline(about: Panel, states: States) -> Built:
    """A bar for each series, coloured by what its value stands for."""
    panel = statetimeline.Panel().mappings(_mappings(states)).thresholds(_thresholds({}, base="text"))
    panel.show_value(common.VisibilityMode.AUTO).row_height(0.8).fill_opacity(80).merge_values(True)
    panel.legend(_legend([])).tooltip(shared.VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
    return _built(about, panel.build())


def lines(
    about: Panel,
    unit: str,
    *,
    limits: Mapping[float, str] | None = None,
    steps: bool = False,
    stacked: bool = False,
    bottom: float | None = 0,
    top: float | None = None,
) -> Built:
    """Values over time. `limits` are drawn as dashed lines, `steps` doesn't slope between two values."""
    panel = _over_time(unit).legend(_legend(["mean", "lastNotNull"]))
    if bottom is not None:
        panel.min(bottom)
    if top is not None:
        panel.max(top)
    if limits:
        panel.thresholds(_thresholds(limits, base="transparent"))
        panel.thresholds_style(shared.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    if steps:
        panel.line_interpolation(common.LineInterpolation.STEP_AFTER)
    if stacked:
        panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(60)
        panel.stacking(shared.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    for role, color in ROLES.items():
        panel.override_by_regexp(f"/^{role}/", [Property("color", {"mode": "shades", "fixedColor": color})])
    return _built(about, panel.build())


def band(about: Panel, unit: str, *, low: str, middle: str, high: str, limit: str) -> Built:
    """A line with its bounds as an area, and what it must not pass; all four are legends."""
    panel = _over_time(unit).legend(_legend(["lastNotNull"])).axis_centered_zero(True)
    color = Property("color", {"mode": "fixed", "fixedColor": "blue"})
    edge = [color, Property("custom.lineWidth", 0)]
    panel.override_by_name(middle, [color, Property("custom.lineWidth", 2)])
    line = Property("custom.lineStyle", {"fill": "dash", "dash": [10, 10]})
    panel.override_by_name(limit, [Property("color", {"mode": "fixed", "fixedColor": "red"}), line])
    panel.override_by_name(low, edge)
    panel.override_by_name(high, [*edge, Property("custom.fillOpacity", 20), Property("custom.fillBelowTo", low)])
    return _built(about, panel.build())


def heat(about: Panel, unit: str) -> Built:
    """A histogram over time: the queries give one series for each `le`."""
    panel = heatmap.Panel().calculate(False).y_axis(heatmap.YAxisConfig().unit(unit)).cell_gap(1).show_legend()
    panel.color(heatmap.HeatmapColorOptions().scheme("Oranges").steps(32))
    return _built(about, panel.build(), promql.PromQueryFormat.HEATMAP)


def grid(
    about: Panel,
    columns: Sequence[str],
    states: Mapping[str, States] | None = None,
    links: Mapping[str, str] | None = None,
) -> Built:
    """A row for each set of labels; the queries give the `columns` in their order, and their values
    may stand for states. `links` gives a column's cells an address.
    """
    panel = table.Panel().filterable(True).cell_height(common.TableCellHeight.SM)
    names = {f"Value #{_letter(place)}": name for place, name in enumerate(columns)}
    panel.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        dashboard.DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": names}
        )
    )
    for name, values in (states or {}).items():
        cell = {"type": "color-background", "mode": "basic"}
        panel.override_by_name(name, [Property("mappings", _mappings(values)), Property("custom.cellOptions", cell)])
    for name, address in (links or {}).items():
        panel.override_by_name(name, [Property("links", [{"title": "Open", "url": address}])])
    return _built(about, panel.build(), promql.PromQueryFormat.TABLE, instant=True)


def _built(
    about: Panel,
    panel: dashboard.Panel,
    form: promql.PromQueryFormat = promql.PromQueryFormat.TIME_SERIES,
    *,
    instant: bool = False,
) -> Built:
    panel.title, panel.description, panel.datasource = about.title, about.text, SOURCE
    panel.grid_pos = dashboard.GridPos(h=about.height, w=about.width)
    if about.repeat:
        panel.repeat, panel.repeat_direction, panel.max_per_row = about.repeat, "h", WIDTH // about.width
    panel.targets = []
    for place, query in enumerate(about.queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(_letter(place)).format(form).datasource(SOURCE)
        if query.legend:
            target.legend_format(query.legend)
        panel.targets.append((target.instant() if instant else target.range()).build())
    return Built(panel)


def _over_time(unit: str) -> timeseries.Panel:
    panel = timeseries.Panel().unit(unit).fill_opacity(0).line_width(1).show_points(common.VisibilityMode.NEVER)
    tooltip = shared.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    return panel.tooltip(tooltip)


def _legend(calculations: list[str]) -> shared.VizLegendOptions:
    mode = common.LegendDisplayMode.TABLE if calculations else common.LegendDisplayMode.LIST
    legend = shared.VizLegendOptions().display_mode(mode).placement(common.LegendPlacement.BOTTOM)
    return legend.show_legend(True).calcs(calculations)


def _thresholds(limits: Mapping[float, str], *, base: str) -> parts.ThresholdsConfig:
    steps = [dashboard.Threshold(value=None, color=base)]
    steps += [dashboard.Threshold(value=value, color=color) for value, color in sorted(limits.items())]
    return parts.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _mappings(states: States) -> list[dashboard.ValueMapping]:
    results = {
        str(value): dashboard.ValueMappingResult(text=state.text, color=state.color, index=place)
        for place, (value, state) in enumerate(states.items())
    }
    return [dashboard.ValueMap(options=results)] if results else []


def _letter(place: int) -> str:
    return chr(ord("A") + place)
