"""Every expression of a dashboard's JSON with its variables filled in: what Grafana would ask Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

WINDOW = "1m"  # stands for Grafana's $__rate_interval and $__range
_VARIABLE = re.compile(r"\$\{([a-zA-Z_]\w*)\}|\$([a-zA-Z_]\w*)")  # not $1, which is label_replace's
_LABEL_VALUES = re.compile(r"label_values\((.+),\s*(\w+)\)")


def expressions(dashboard: Mapping[str, Any], variables: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs of a panel's title (or `variable NAME`) and an expression.

    `variables` gives the dashboard's own, such as namespace and canary; a KeyError names one that is missing. A
    variable's query becomes an expression that is empty exactly if the variable has no values.
    """
    known = {"__rate_interval": WINDOW, "__range": WINDOW, **variables}
    return [(name, _VARIABLE.sub(lambda found: known[found[1] or found[2]], expr)) for name, expr in _asked(dashboard)]


def _asked(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = _LABEL_VALUES.fullmatch(variable["query"])
            assert found, f"the query of the variable {variable['name']} is not label_values(…)"
            yield f"variable {variable['name']}", f"count by ({found[2]}) ({found[1]})"
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
