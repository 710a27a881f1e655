"""What the series say, and the expressions that both dashboards use.

Names and labels: Flagger's are in pkg/metrics/recorder.go of Flagger 1.44, the gate's in modelpack/gate/exposition.py.
"""

from __future__ import annotations

from flagger.dashboards.panels import State
from modelpack.gate.verdict import ACCEPT, HOLD, PENDING, REJECT, UNDECIDED, VERDICTS

STATUS = {
    0: State("Progressing", "blue"),
    1: State("At rest, waiting or promoting", "green"),
    2: State("Failed", "red"),
}
_COLORS = {PENDING: "purple", UNDECIDED: "blue", HOLD: "orange", ACCEPT: "green", REJECT: "red"}
VERDICT = {number: State(name, _COLORS[name]) for number, name in enumerate(VERDICTS)}


def verdict(chosen: str) -> str:
    """The gate's verdict as a key of VERDICT: of its five series the one that applies is 1, the others 0."""
    series = (f'{n} * modelpack_gate_verdict{{{chosen},verdict="{name}"}}' for n, name in enumerate(VERDICTS))
    return f"max by (namespace, name) ({' or '.join(series)})"


def since_start(counter: str, chosen: str) -> str:
    """A counter of Flagger's for each canary; 0 for one that it hasn't counted yet."""
    canaries = f"max by (namespace, name) (flagger_canary_status{{{chosen}}})"
    return f"sum by (namespace, name) ({counter}{{{chosen}}}) or 0 * {canaries}"
