"""Writes rollouts.json and model.json beside itself: `python -m flagger.dashboards.generate`."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as parts
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from flagger.dashboards.model import MODEL, ONE, PREDICTIONS
from flagger.dashboards.panels import SOURCE, Rows
from flagger.dashboards.rollouts import ROLLOUTS

TAG = "modelpack"


def variable(
    name: str, label: str, query: str, *, several: bool = False, hidden: bool = False, regex: str = ""
) -> parts.QueryVariable:
    """One whose values are a label's, among the series of the shown time."""
    made = parts.QueryVariable(name).label(label).query(query).datasource(SOURCE).regex(regex)
    made.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    made.hide(dashboard.VariableHide.HIDE_VARIABLE if hidden else dashboard.VariableHide.DONT_HIDE)
    made.multi(several).include_all(several)
    return made.current(dashboard.VariableOption(text="All", value="$__all")) if several else made


def page(title: str, uid: str, text: str, variables: list[parts.QueryVariable], rows: Rows) -> dashboard.Dashboard:
    made = parts.Dashboard(title).uid(uid).description(text).tags([TAG]).readonly().refresh("10s")
    made.time("now-1h", "now").timezone("browser").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    link = parts.DashboardLink("modelpack").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True)
    made.link(link.include_vars(True))
    made.with_variable(parts.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for chosen in variables:
        made.with_variable(chosen)
    number = 0
    for name, panels in rows.items():
        number += 1
        made.with_row(parts.Row(name).id(number))
        for each in deepcopy(panels):  # Grafana's builder writes positions into them
            number += 1
            each.panel.id_val = number
            made.with_panel(each)
    return made.build()


def dashboards() -> dict[str, str]:
    """Each file's name and its text."""
    namespace = "label_values(flagger_canary_status, namespace)"
    canary = 'label_values(flagger_canary_status{namespace=~"$namespace"}, name)'
    pages = {
        "rollouts.json": page(
            "Rollouts",
            "modelpack-rollouts",
            "All canaries: where they are, what the gate makes of them, and how their rollouts ended.",
            [
                variable("namespace", "Namespace", namespace, several=True),
                variable("canary", "Canary", canary, several=True),
            ],
            ROLLOUTS,
        ),
        "model.json": page(
            "Model",
            "modelpack-model",
            "One model's rollout: canary against primary, the gate's evidence, and what the model predicts.",
            [
                variable("namespace", "Namespace", namespace),
                variable("canary", "Canary", canary),
                variable(
                    "check", "Check", f"label_values(modelpack_gate_check_estimate{{{ONE}}}, check)", several=True
                ),
                variable(
                    "server",
                    "Prefix of the server's series",
                    f"label_values({PREDICTIONS}, __name__)",
                    hidden=True,
                    regex="/^(.+)_prediction_bucket$/",
                ),
            ],
            MODEL,
        ),
    }
    return {
        name: json.dumps(each, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, each in pages.items()
    }


if __name__ == "__main__":
    for name, text in dashboards().items():
        Path(__file__).with_name(name).write_text(text)
