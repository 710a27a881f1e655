"""A histogram's buckets in the slices of live traffic: cells by upper bound, cumulative, "+Inf" for all."""

from __future__ import annotations

from collections.abc import Sequence

from modelpack.gate.checks.check import Cells, Slice
from modelpack.gate.selectors import Selector

ALL = "+Inf"
_SHOWN = 4


def total(cells: Cells) -> float:
    return cells.get(ALL, 0.0)


def slower(cells: Cells, threshold: float) -> float:
    """Observations above one of the bounds."""
    return max(0.0, total(cells) - cells.get(f"{threshold:g}", 0.0))


def problem(slices: Sequence[Slice], histogram: Selector, threshold: float | None = None) -> str:
    """Why these buckets cannot answer, "" if they can: no bucket for all, or none with the threshold as its bound."""
    for role, several in (("canary", [each.canary for each in slices]), ("primary", [each.primary for each in slices])):
        bounds = {float(bound) for cells in several for bound in cells}
        if not bounds:
            continue
        if float("inf") not in bounds:
            return f"{histogram.metric} of the {role} has no bucket {ALL}: is it a histogram?"
        if threshold is not None and not any(f"{threshold:g}" in cells for cells in several):
            finite = sorted(bounds - {float("inf")}, key=lambda each: abs(each - threshold))[:_SHOWN]
            nearest = ", ".join(f"{each:g}" for each in sorted(finite)) or "none"
            return (
                f"{threshold:g} is not a bound of {histogram.metric} of the {role}, the nearest are {nearest}: "
                "write one of them as threshold in gate.yaml"
            )
    return ""


def buckets(many: Sequence[Cells]) -> list[dict[str, float]]:
    """One version's slices, each with all bounds that any of them has: what is not there did not go up."""
    bounds = sorted({bound for cells in many for bound in cells}, key=float)
    return [{bound: cells.get(bound, 0.0) for bound in bounds} for cells in many]
