"""What a gate has counted, by weight."""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.gate.checks import Need
from modelpack.gate.measurements import Measurements
from modelpack.gate.store import Store


@dataclass(frozen=True)
class Reads:
    """As much of a check as the meter asks for."""

    name: str
    needs: tuple[Need, ...]


def counted(store: Store, rollout: str, name: str = "errors") -> list[tuple[float, float, float]]:
    """(weight, canary requests, primary requests) of each step."""
    found: dict[int, tuple[float, float, float]] = {}
    for each in Measurements(store).slices(rollout, name, 0.0).get("", ()):
        _, canary, primary = found.get(each.step, (0.0, 0.0, 0.0))
        both = canary + each.canary.get("total", 0.0), primary + each.primary.get("total", 0.0)
        found[each.step] = (each.weight, *both)
    return [found[step] for step in sorted(found)]
