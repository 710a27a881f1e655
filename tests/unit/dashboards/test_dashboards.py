"""The dashboards are what their generator writes, what Grafana's schema allows, and whole."""

from __future__ import annotations

import enum
import json
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from flagger.dashboards.expressions import expressions

if sys.version_info < (3, 11):
    pytest.skip("Grafana's typed library needs Python 3.11", allow_module_level=True)

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from flagger.dashboards import generate

FOLDER = Path(generate.__file__).parent
FILES = ["model.json", "rollouts.json"]
TODAY = {"heatmap", "row", "stat", "state-timeline", "table", "timeseries"}  # not graph, singlestat or table-old


@pytest.fixture(params=FILES)
def page(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A committed dashboard."""
    read: dict[str, Any] = json.loads((FOLDER / request.param).read_text())
    return read


def test_the_committed_files_are_what_the_generator_writes() -> None:
    written = generate.dashboards()
    assert sorted(written) == FILES
    for name, text in written.items():
        assert (FOLDER / name).read_text() == text, "run python -m flagger.dashboards.generate"
    assert generate.dashboards() == written


def test_grafanas_sidecar_finds_every_file() -> None:
    found = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert [sorted(each["files"]) for each in found["configMapGenerator"]] == [FILES]
    assert found["generatorOptions"]["labels"] == {"grafana_dashboard": "1"}


def test_grafanas_schema_knows_every_field_and_allows_every_value(page: dict[str, Any]) -> None:
    plugins.register_default_plugins()
    assert list(problems(page)) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["refresh"], 10, "refresh: 10 is not"),
        (["colour"], "red", "the schema drops"),
        (["panels", 1, "type"], "singlestat", "singlestat"),
        (["panels", 1, "options", "graphModes"], "none", "the schema drops"),
        (["panels", 1, "options", "graphMode"], "lines", "'lines' is not"),
        (["panels", 1, "targets", 0, "format"], "chart", "'chart' is not"),
        (["panels", 1, "gridPos", "w"], "wide", "'wide' is not"),
        (["panels", 1, "fieldConfig", "defaults", "thresholds", "mode"], "relative", "'relative' is not"),
    ],
    ids=str,
)
def test_the_schema_finds_what_is_wrong(path: list[Any], value: Any, problem: str) -> None:
    page = json.loads((FOLDER / "rollouts.json").read_text())
    place = page
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    plugins.register_default_plugins()
    assert any(problem in each for each in problems(page))


def test_every_panel_tells_what_it_shows_and_has_its_own_place(page: dict[str, Any]) -> None:
    panels = page["panels"]
    assert {panel["type"] for panel in panels} <= TODAY
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["targets"], panel["title"]
            for target in panel["targets"]:
                assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        if panel["type"] in ("stat", "timeseries"):
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        if panel["type"] in ("timeseries", "state-timeline"):
            assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


def test_expressions_have_no_variable_left_and_none_is_unknown(page: dict[str, Any]) -> None:
    declared = {each["name"] for each in page["templating"]["list"]} - {"datasource"}
    asked = expressions(page, dict.fromkeys(declared, "mpg"))
    assert len(asked) > 15
    assert {name for name, _ in asked if name.startswith("variable ")} == {f"variable {name}" for name in declared}
    for _, expr in asked:
        assert not re.search(r"\$(?!1\b)", expr), expr
    with pytest.raises(KeyError):
        expressions(page, {})


def test_expressions_fill_in_names_windows_and_label_values() -> None:
    variable = {"type": "query", "query": "label_values(a{b='$b'}, c)", "name": "c"}
    target = {"expr": 'label_replace(rate(${b}_x[$__rate_interval]), "a", "$1", "b", "(.+)")'}
    page = {
        "templating": {"list": [{"type": "datasource"}, variable]},
        "panels": [{"title": "row"}, {"title": "P", "targets": [target]}],
    }
    assert expressions(page, {"b": "mpg"}) == [
        ("variable c", "count by (c) (a{b='mpg'})"),
        ("P", 'label_replace(rate(mpg_x[1m]), "a", "$1", "b", "(.+)")'),
    ]


# --- the schema: Grafana's, as the typed library has it


def problems(page: dict[str, Any]) -> typing.Iterator[str]:
    """What is wrong with a dashboard's JSON by the library's types: they are generated from Grafana's own schema."""
    for panel in page["panels"]:
        if panel["type"] not in TODAY:
            yield f"panel type {panel['type']}"
    typed = dashboard.Dashboard.from_json(page)
    again = json.loads(json.dumps(typed, cls=JSONEncoder))
    if again != page:
        yield f"the schema drops or adds something: {difference(page, again)}"
    yield from mismatches(typed, type(typed), "dashboard")


def mismatches(value: Any, hint: Any, where: str) -> typing.Iterator[str]:
    """Where a value is not of the type that the schema gives it; goes down into typed objects, lists and mappings."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        tries = [list(mismatches(value, each, where)) for each in inner]
        if all(tries):  # the alternative that fits furthest down is the one that was meant
            yield from max(tries, key=lambda found: max(len(each.partition(":")[0]) for each in found))
        return
    if isinstance(value, dict) and hasattr(hint, "from_json"):  # the library leaves some objects as they were
        value = hint.from_json(value)
    if origin is typing.Literal:
        if value not in inner:
            yield f"{where}: {value!r} is not one of {inner}"
    elif origin is list and isinstance(value, list):
        for place, each in enumerate(value):
            yield from mismatches(each, inner[0], f"{where}[{place}]")
    elif origin is dict and isinstance(value, dict):
        for key, each in value.items():
            yield from mismatches(each, inner[1], f"{where}.{key}")
    elif hasattr(value, "to_json"):
        hints = typing.get_type_hints(type(value))
        if isinstance(hint, type) and not isinstance(value, hint):
            yield f"{where}: {value!r} is not {hint}"
        for name, each in hints.items():
            yield from mismatches(getattr(value, name), each, f"{where}.{name}")
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in [each.value for each in hint]:
            yield f"{where}: {value!r} is not one of {[each.value for each in hint]}"
    elif hint is float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            yield f"{where}: {value!r} is not a number"
    elif hint is int:
        if type(value) is not int:
            yield f"{where}: {value!r} is not a whole number"
    elif hint not in (object, Any) and not isinstance(value, origin or hint):
        yield f"{where}: {value!r} is not {hint}"


def difference(one: Any, other: Any, where: str = "") -> str:
    """The first place where two documents differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return next((difference(one[key], other[key], f"{where}.{key}") for key in one if one[key] != other[key]), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((difference(a, b, f"{where}[{place}]") for place, (a, b) in pairs if a != b), "")
    return f"{where}: {one!r} became {other!r}"[:1000]
