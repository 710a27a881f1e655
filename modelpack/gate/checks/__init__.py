"""The checks that a `gate.yaml` may hold, one module each.

A check is a frozen value read from `gate.yaml`; `evaluate(window)` is a pure function from what was seen to evidence. A
new check is one module with a class like `Golden` or `Comparison`, and one line in `TYPES`.
"""

from __future__ import annotations

from modelpack.fields import Fields
from modelpack.gate.checks.check import Check, Evidence, Window
from modelpack.gate.checks.comparison import Comparison
from modelpack.gate.checks.golden import Golden

TYPES: dict[str, type[Golden] | type[Comparison]] = {Golden.type: Golden, Comparison.type: Comparison}

__all__ = ["TYPES", "Check", "Comparison", "Evidence", "Golden", "Window", "parse_check"]


def parse_check(fields: Fields) -> Golden | Comparison:
    """Read one entry of `checks`; raises InputError with file and line."""
    check = TYPES[fields.choice("type", list(TYPES))].parse(fields)
    fields.done()
    return check
