"""The dashboard of one model.

Envoy's series are what its /stats/prometheus shows with the cluster names that Contour gives. A model server is
recognised by its histogram `<server>_prediction`; its series carry the labels `namespace` and `pod` of the scrape.
"""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.models import units

from flagger.dashboards.panels import ROLES, Panel, Query, Rows, band, grid, heat, lines, number
from flagger.dashboards.series import STATUS, VERDICT, verdict

ONE = 'namespace="$namespace",name="$canary"'
ENVOY = {role: f'envoy_cluster_name=~"${{namespace}}_${{canary}}-{role}_[0-9]+"' for role in ROLES}
WORKLOAD = {"canary": "$canary", "primary": "$canary-primary"}  # Deployments; their pods' names add two words
SERVER = {role: f'namespace="$namespace",pod=~"{name}-[a-z0-9]+-[a-z0-9]+"' for role, name in WORKLOAD.items()}
PREDICTIONS = '{__name__=~".+_prediction_bucket",namespace="$namespace",pod=~"$canary-.+"}'
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def both(expr: str, chosen: Mapping[str, str], legend: str = "") -> list[Query]:
    """One query for the canary and one for the primary: `SELECT` in the expression is the role's selector."""
    return [Query(expr.replace("SELECT", chosen[role]), f"{role} {legend}".strip()) for role in ROLES]


def quantiles(histogram: str, chosen: Mapping[str, str], names: Mapping[str, float]) -> list[Query]:
    """Quantiles by role of a histogram, from its `_bucket` series."""
    rates = f"sum by (le) (rate({histogram}_bucket{{SELECT}}[$__rate_interval]))"
    return [each for name, q in names.items() for each in both(f"histogram_quantile({q}, {rates})", chosen, name)]


def check(series: str, *labels: str) -> str:
    """One of the gate's numbers for each check, or for the one that `labels` choose."""
    return f"max by (check) (modelpack_gate_check_{series}{{{','.join((ONE, *labels))}}})"


CHECKS = {
    "Canary": check("value", 'role="canary"'),
    "Primary": check("value", 'role="primary"'),
    "Difference": check("estimate"),
    "Low": check("low"),
    "High": check("high"),
    "Margin": check("margin"),
    "Canary's requests": check("requests", 'role="canary"'),
}
_ALL = "sum(rate(envoy_cluster_upstream_rq_xx{SELECT}[$__rate_interval]))"
_5XX = 'sum(rate(envoy_cluster_upstream_rq_xx{SELECT,envoy_response_code_class="5"}[$__rate_interval]))'
_BUCKETS = "${server}_prediction_bucket"
_MEAN = " / ".join(f"sum(rate(${{server}}_prediction_{each}{{SELECT}}[$__rate_interval]))" for each in ("sum", "count"))

MODEL: Rows = {
    "Rollout": [
        number(
            Panel(
                "Flagger's status",
                "Waiting for promotion and promoting show as at rest.",
                [Query(f"max(flagger_canary_status{{{ONE}}})")],
                width=5,
                height=5,
            ),
            units.NoUnit,
            states=STATUS,
        ),
        number(
            Panel(
                "The gate's verdict",
                "On the open rollout; no data while there is none.",
                [Query(verdict(ONE))],
                width=5,
                height=5,
            ),
            units.NoUnit,
            states=VERDICT,
        ),
        lines(
            Panel(
                "Share of traffic",
                "The weights in the routes, as Flagger reads them.",
                [
                    Query(f'max(flagger_canary_weight{{namespace="$namespace",workload="{WORKLOAD[role]}"}})', role)
                    for role in ROLES
                ],
                width=14,
                height=5,
            ),
            units.Percent,
            steps=True,
            top=100,
        ),
    ],
    "Canary and primary, as the proxy sees them": [
        lines(
            Panel("Requests", "Answered requests a second.", both(_ALL, ENVOY), width=8),
            units.RequestsPerSecond,
        ),
        lines(
            Panel(
                "Share of 5xx answers",
                "Answers of class 5xx among all. The gate compares the two: what counts is the distance.",
                both(f"({_5XX} or 0 * {_ALL}) / {_ALL}", ENVOY),
                width=8,
            ),
            units.PercentUnit,
            limits={0.01: "yellow", 0.05: "red"},
        ),
        lines(
            Panel(
                "Latency",
                "Quantiles of the time until the answer's end, estimated from the histogram's buckets.",
                quantiles("envoy_cluster_upstream_rq_time", ENVOY, QUANTILES),
                width=8,
            ),
            units.Milliseconds,
        ),
    ],
    "What the gate knows": [
        grid(
            Panel(
                "Checks now",
                "What each check measures, in its own unit. The difference is canary minus primary, with its interval; "
                "the margin is how much worse than the primary the canary may be.",
                [Query(expr) for expr in CHECKS.values()],
                width=14,
                height=7,
            ),
            list(CHECKS),
        ),
        lines(
            Panel(
                "Counted requests",
                "Requests that each check rests on, or golden examples. A comparison accepts only with enough of them.",
                [Query(f"max by (check, role) (modelpack_gate_check_requests{{{ONE}}})", "{{role}} {{check}}")],
                width=10,
                height=7,
            ),
            units.Short,
            steps=True,
        ),
        band(
            Panel(
                "Check: $check",
                "Canary minus primary with its interval, and the margin. A comparison's interval stays valid however "
                "often one looks: as a whole above the margin it rejects the canary, below it accepts.",
                [Query(check(series, 'check="$check"'), series) for series in ("low", "estimate", "high", "margin")],
                width=8,
                repeat="check",
            ),
            units.Short,
            low="low",
            middle="estimate",
            high="high",
            limit="margin",
        ),
    ],
    "The model": [
        *(
            heat(
                Panel(
                    f"Predictions of the {role}",
                    "Predictions a second in each bucket of the server's histogram. A canary whose colours sit "
                    "elsewhere than the primary's predicts otherwise for the same traffic.",
                    [Query(f"sum by (le) (rate({_BUCKETS}{{{SERVER[role]}}}[$__rate_interval]))", "{{le}}")],
                ),
                units.Short,
            )
            for role in ROLES
        ),
        lines(
            Panel("Mean prediction", "In the model's own unit.", both(_MEAN, SERVER), width=8),
            units.Short,
            bottom=None,
        ),
        lines(
            Panel(
                "Time to answer, in the server",
                "95th percentile, without proxy and network.",
                quantiles("${server}_request_seconds", SERVER, {"p95": 0.95}),
                width=8,
            ),
            units.Seconds,
        ),
        lines(
            Panel(
                "Answers by status code",
                "A second, as the server counts them. 4xx are requests that were wrong.",
                both("sum by (code) (rate(${server}_requests_total{SELECT}[$__rate_interval]))", SERVER, "{{code}}"),
                width=8,
            ),
            units.RequestsPerSecond,
        ),
        lines(
            Panel(
                "Pods",
                "Pods whose server answered the last scrape.",
                both("count(process_start_time_seconds{SELECT})", SERVER),
            ),
            units.Short,
            steps=True,
        ),
        lines(
            Panel(
                "Restarts",
                "Containers that started again in the last ten minutes, in the pods that are there.",
                both("sum(changes(process_start_time_seconds{SELECT}[10m]))", SERVER),
            ),
            units.Short,
            limits={1: "yellow", 3: "red"},
            steps=True,
        ),
    ],
}
