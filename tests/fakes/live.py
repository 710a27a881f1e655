"""Live traffic as a check gets it, and checks as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelpack.fields import read
from modelpack.gate.checks.check import Slice


def parsed(kind: Any, text: str) -> Any:
    """A check of this class from its lines in a gate.yaml."""
    fields = read(text, "gate.yaml")
    fields.skip("type")
    found = kind.parse(fields)
    fields.done()
    return found


def traffic(
    canary: Mapping[str, float], primary: Mapping[str, float], *, slices: int = 10, until: float = 0.5
) -> tuple[Slice, ...]:
    """These counts, spread evenly over slices that end by `until`; what does not divide comes in the last ones."""
    return tuple(
        Slice(1, 10.0, until * (k + 1) / slices, _part(canary, k, slices), _part(primary, k, slices))
        for k in range(slices)
    )


def _part(cells: Mapping[str, float], k: int, slices: int) -> dict[str, float]:
    return {cell: float(value * (k + 1) // slices - value * k // slices) for cell, value in cells.items()}
