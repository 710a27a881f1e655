"""The checks that a `gate.yaml` may hold, one module each.

A check is a frozen value read from `gate.yaml`; `evaluate(window)` is a pure function from what was seen to evidence. A
new check is one module with a class like those below, and one entry in `_CHECKS`.
"""

from __future__ import annotations

from typing import Any

from modelpack.fields import Fields
from modelpack.gate.checks.approval import Approval
from modelpack.gate.checks.check import Check, Evidence, Need, ReadsFiles, Slice, Told, Window
from modelpack.gate.checks.drift import Drift
from modelpack.gate.checks.golden import Golden
from modelpack.gate.checks.labels import Labels
from modelpack.gate.checks.latency import Latency
from modelpack.gate.checks.mean import Mean
from modelpack.gate.checks.proportion import Proportion
from modelpack.gate.checks.shadow import Shadow
from modelpack.gate.checks.slo import Slo

_CHECKS: tuple[Any, ...] = (Golden, Proportion, Latency, Mean, Slo, Drift, Labels, Shadow, Approval)
TYPES: dict[str, Any] = {each.type: each for each in _CHECKS}
_RENAMED = {"comparison": "it is called proportion now, and where it counts slow answers latency"}

__all__ = ["TYPES", "Approval", "Check", "Evidence", "Golden", "Need", "ReadsFiles", "Slice", "Told", "Window"]
__all__ += ["parse_check"]


def parse_check(fields: Fields) -> Check:
    """Read one entry of `checks`; raises InputError with file and line."""
    if fields.is_text("type") and (kind := str(fields.value("type"))) in _RENAMED:
        raise fields.error("type", f"{kind!r} is not known", _RENAMED[kind])
    check: Check = TYPES[fields.choice("type", list(TYPES))].parse(fields)
    fields.done()
    return check
