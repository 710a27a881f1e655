"""A person's word, bound to the rollout and so to its digest: it says nothing about the next version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from modelpack.fields import Fields
from modelpack.gate import verdict
from modelpack.gate.checks.check import Evidence, Need, Window

TRAFFIC, PROMOTION = "before-traffic", "before-promotion"


@dataclass(frozen=True)
class Approval:
    """Holds until somebody approves: before the canary gets any traffic, or once every other check accepts."""

    type: ClassVar[str] = "approval"
    compares: ClassVar[bool] = False
    alpha: ClassVar[None] = None
    name: str
    when: str = PROMOTION

    @classmethod
    def parse(cls, fields: Fields) -> Approval:
        return cls(name=fields.text("name"), when=fields.choice("when", (TRAFFIC, PROMOTION), PROMOTION))

    @property
    def needs(self) -> tuple[Need, ...]:
        return ()

    def description(self) -> dict[str, Any]:
        return {
            "statistic": self.when,
            "measures": "a person's approval",
            "unit": "",
            "share": False,
            "limit": None,
            "margin": None,
            "min_sample": None,
        }

    def evaluate(self, window: Window) -> Evidence:
        if window.approved:
            return Evidence(verdict.ACCEPT, f"{window.approved} approved this rollout")
        if window.rollback:
            return Evidence(verdict.ACCEPT, "a person asked to go back to this version, which is an approval")
        if self.when == TRAFFIC:
            return Evidence(verdict.HOLD, "a person has to approve before the canary gets any traffic")
        if window.ready:
            return Evidence(verdict.HOLD, "every other check accepts: a person has to approve the promotion")
        return Evidence(verdict.UNDECIDED, "a person is asked to approve once every other check accepts")
