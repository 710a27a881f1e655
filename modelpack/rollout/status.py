"""Where a rollout stands: Flagger's phases and the status it keeps on the Canary.

Flagger hashes with a 32-bit sum over a dump of Go structures, which nothing else can reproduce; these hashes are
sha256 over canonical JSON instead. Like Flagger's they are opaque: equal if and only if the input is equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from modelpack.oci import canonical_json, digest_of


class Phase(str, Enum):
    """The phases of Flagger's Canary that a rollout passes through."""

    INITIALIZING = "Initializing"
    INITIALIZED = "Initialized"
    WAITING = "Waiting"
    PROGRESSING = "Progressing"
    WAITING_PROMOTION = "WaitingPromotion"
    PROMOTING = "Promoting"
    FINALISING = "Finalising"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def settled(self) -> bool:
        """No rollout is going on."""
        return self in (Phase.INITIALIZED, Phase.SUCCEEDED, Phase.FAILED)


UNDER_WAY = tuple(
    phase.value
    for phase in (Phase.WAITING, Phase.PROGRESSING, Phase.WAITING_PROMOTION, Phase.PROMOTING, Phase.FINALISING)
)
"""The phases of a rollout that goes on, as Flagger writes them: a cluster may have phases that a rehearsal has not."""


@dataclass(frozen=True)
class Status:
    """The part of a Canary that Flagger writes. `weight` is the canary's share in percent.

    `attempt` counts runs that started over after an interruption. It takes part in the checksum, as Flagger's tracked
    configs do, so that the gate judges such a run afresh.
    """

    phase: Phase = Phase.INITIALIZING
    failed_checks: int = 0
    weight: int = 0
    iterations: int = 0
    last_applied: str = ""
    last_promoted: str = ""
    attempt: int = 0

    @property
    def checksum(self) -> str:
        """What webhooks get as `checksum`."""
        return _hash({"attempt": self.attempt, "lastAppliedSpec": self.last_applied})

    def in_phase(self, phase: Phase, iterations: int = 0) -> Status:
        """The status after Flagger sets a phase alone: most phases reset weight and iterations, success promotes.

        `iterations` is the Canary's, of which WaitingPromotion takes one back.
        """
        status = replace(self, phase=phase)
        if phase not in (Phase.PROGRESSING, Phase.WAITING, Phase.PROMOTING):
            status = replace(status, weight=0, iterations=iterations - 1 if phase is Phase.WAITING_PROMOTION else 0)
        if phase is Phase.SUCCEEDED:
            status = replace(status, last_promoted=self.last_applied)
        return status

    def synced(self, phase: Phase, template: str, weight: int = 0) -> Status:
        """The status after Flagger starts, restarts or ends a run on a pod template: counters start over."""
        promoted = template if phase is Phase.INITIALIZED else self.last_promoted
        return Status(phase, 0, weight, 0, template, promoted, self.attempt)

    def changed(self, template: str) -> bool:
        """Whether a pod template's hash starts a canary: it is neither the last applied nor the last promoted one."""
        if not self.last_applied:
            return True
        return template not in (self.last_promoted, self.last_applied)

    def to_json(self) -> dict[str, Any]:
        return {
            "phase": self.phase.value,
            "failedChecks": self.failed_checks,
            "canaryWeight": self.weight,
            "iterations": self.iterations,
            "lastAppliedSpec": self.last_applied,
            "lastPromotedSpec": self.last_promoted,
            "attempt": self.attempt,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Status:
        """Raises KeyError, TypeError or ValueError for what `to_json` did not write."""
        return cls(
            phase=Phase(value["phase"]),
            failed_checks=int(value["failedChecks"]),
            weight=int(value["canaryWeight"]),
            iterations=int(value["iterations"]),
            last_applied=str(value["lastAppliedSpec"]),
            last_promoted=str(value["lastPromotedSpec"]),
            attempt=int(value["attempt"]),
        )


def template_hash(template: Any) -> str:
    """The hash of a pod template, given as the plain value that its YAML stands for."""
    return _hash(template)


def _hash(value: Any) -> str:
    return digest_of(canonical_json(value)).removeprefix("sha256:")[:16]
