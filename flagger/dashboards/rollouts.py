"""The dashboard of all canaries."""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.models import units

from flagger.dashboards.panels import Built, Panel, Query, Rows, grid, lines, number, timeline
from flagger.dashboards.series import STATUS, VERDICT, since_start, verdict
from modelpack.gate.verdict import HOLD

CANARIES = 'namespace=~"$namespace",name=~"$canary"'
WEIGHTS = 'flagger_canary_weight{namespace=~"$namespace",workload=~"$canary"}'
NAMED = "{{namespace}}/{{name}}"
PROMOTIONS = since_start("flagger_canary_successes_total", CANARIES)
FAILURES = since_start("flagger_canary_failures_total", CANARIES)
STEP = f"sum by (le, namespace, name) (rate(flagger_canary_duration_seconds_bucket{{{CANARIES}}}[$__rate_interval]))"
MODEL_PAGE = (
    "/d/modelpack-model?${datasource:queryparam}"
    "&var-namespace=${__data.fields.namespace}&var-canary=${__data.fields.name}"
)


def counted(title: str, text: str, expr: str, limits: Mapping[float, str] | None = None) -> Built:
    return number(Panel(title, text, [Query(expr)], width=4, height=4), units.Short, limits=limits)


ROLLOUTS: Rows = {
    "Now": [
        counted("Canaries", "Canaries that Flagger knows.", f"count(flagger_canary_status{{{CANARIES}}})"),
        counted(
            "Progressing",
            "Canaries whose analysis is under way.",
            f"sum(flagger_canary_status{{{CANARIES}}} == bool 0)",
            {1: "blue"},
        ),
        counted(
            "Held for a person",
            "Rollouts that wait until somebody approves or rejects them on the gate's page.",
            f'sum(modelpack_gate_verdict{{{CANARIES},verdict="{HOLD}"}}) or vector(0)',
            {1: "orange"},
        ),
        counted(
            "Failed",
            "Canaries whose last rollout failed; the primary serves what it served before.",
            f"sum(flagger_canary_status{{{CANARIES}}} == bool 2)",
            {1: "red"},
        ),
        counted("Promotions", "Rollouts promoted since Flagger started.", f"sum({PROMOTIONS})"),
        counted("Failures", "Rollouts rolled back since Flagger started.", f"sum({FAILURES})"),
        grid(
            Panel(
                "Canaries now",
                "One row for each canary. The verdict is empty while no rollout is open. Promotions and failures are "
                "counted since Flagger started.",
                [
                    Query(f"max by (namespace, name) (flagger_canary_status{{{CANARIES}}})"),
                    Query(f'max by (namespace, name) (label_replace({WEIGHTS}, "name", "$1", "workload", "(.+)"))'),
                    Query(verdict(CANARIES)),
                    Query(PROMOTIONS),
                    Query(FAILURES),
                ],
                width=24,
                height=7,
            ),
            ["Status", "Weight, %", "Verdict", "Promotions", "Failures"],
            {"Status": STATUS, "Verdict": VERDICT},
            {"name": MODEL_PAGE},
        ),
    ],
    "Over time": [
        timeline(
            Panel(
                "Flagger's status",
                "Flagger's own series knows three states: a canary that waits for promotion or is being promoted shows "
                "as one at rest.",
                [Query(f"max by (namespace, name) (flagger_canary_status{{{CANARIES}}})", NAMED)],
            ),
            STATUS,
        ),
        timeline(
            Panel(
                "The gate's verdict",
                "The verdict on the open rollout; a gap where none is open.",
                [Query(verdict(CANARIES), NAMED)],
            ),
            VERDICT,
        ),
        lines(
            Panel(
                "The canary's share of traffic",
                "The weight of the canary in the routes, as Flagger reads it.",
                [Query(f"max by (namespace, workload) ({WEIGHTS})", "{{namespace}}/{{workload}}")],
            ),
            units.Percent,
            steps=True,
            top=100,
        ),
        lines(
            Panel(
                "What the gate answered Flagger",
                "Webhook calls a minute by hook and status. 403 is a refusal that Flagger does not count: the rollout "
                "waits. Anything else than 200 and 403 wants a look at the gate's log.",
                [
                    Query(
                        "60 * sum by (hook, answer) (rate(modelpack_gate_webhooks_total[$__rate_interval]))",
                        "{{hook}} {{answer}}",
                    )
                ],
            ),
            units.CountsPerMinute,
            stacked=True,
        ),
        lines(
            Panel(
                "How rollouts ended",
                "Rollouts that the gate remembers, by what became of them.",
                [Query(f"sum by (state) (modelpack_gate_rollouts{{{CANARIES}}})", "{{state}}")],
            ),
            units.Short,
            steps=True,
        ),
        lines(
            Panel(
                "How long a step of Flagger takes",
                "95th percentile of one pass over a canary, webhooks included. Steps that are slower than the analysis "
                "interval make rollouts slow.",
                [Query(f"histogram_quantile(0.95, {STEP})", NAMED)],
            ),
            units.Seconds,
            limits={5: "yellow", 10: "red"},
        ),
    ],
}
