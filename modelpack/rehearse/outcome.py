"""How a rehearsal went: what it tells while it runs, what it came to, and the report that remains."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from modelpack.errors import InconclusiveError, RemoteError, RolledBackError
from modelpack.rehearse.gate import Gate
from modelpack.rehearse.state import replace_file
from modelpack.rehearse.traffic import Summary
from modelpack.rollout import Status


class Result(Enum):
    """How a rehearsal can end without an error."""

    INITIALIZED = "initialized"  # the first one: the primary serves what Git names
    UNCHANGED = "unchanged"  # the primary serves it already
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    FAILED_BEFORE = "failed before"  # Flagger starts nothing for a template that it rolled back
    HELD = "held"  # the gate waits for a person
    TIMED_OUT = "timed out"

    @property
    def exit_code(self) -> int:
        if self in (Result.ROLLED_BACK, Result.FAILED_BEFORE):
            return RolledBackError.exit_code
        if self in (Result.HELD, Result.TIMED_OUT):
            return InconclusiveError.exit_code
        return 0


@dataclass(frozen=True)
class Moment:
    """One thing that happened. `seconds` since the start, `weight` the canary's percent; `reason` is a webhook's.

    `event` tells Flagger's events from what the rehearsal says itself: phases that change, addresses to look at.
    """

    seconds: float
    status: Status
    weight: int
    message: str
    warning: bool = False
    reason: str = ""
    event: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "t": round(self.seconds, 2),
            "phase": self.status.phase.value,
            "weight": self.weight,
            "iterations": self.status.iterations,
            "failedChecks": self.status.failed_checks,
            "message": self.message,
            "warning": self.warning,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Outcome:
    """A finished rehearsal. `rollout` is the gate's JSON, None where the gate was not asked; `seconds` of wall time."""

    result: Result
    namespace: str
    name: str
    model: str
    commit: str
    image: str
    primary_image: str
    status: Status
    moments: tuple[Moment, ...]
    traffic: Summary
    seconds: float
    rollout: dict[str, Any] | None = None

    @property
    def reason(self) -> str:
        """The gate's reason; without one, what a rehearsal that took too long was waiting for."""
        if self.rollout or self.result is not Result.TIMED_OUT:
            return str((self.rollout or {}).get("reason", ""))
        last = next((each for each in reversed(self.moments) if each.warning), None)
        return last.reason or last.message if last else ""

    def to_json(self) -> dict[str, Any]:
        return {
            "result": self.result.value,
            "exitCode": self.result.exit_code,
            "namespace": self.namespace,
            "name": self.name,
            "model": self.model,
            "commit": self.commit,
            "image": self.image,
            "primaryImage": self.primary_image,
            "status": self.status.to_json(),
            "transitions": [moment.to_json() for moment in self.moments],
            "traffic": self.traffic.to_json(),
            "seconds": round(self.seconds, 2),
        }


def write_report(outcome: Outcome, gate: Gate | None, folder: Path) -> Outcome:
    """Write report.json, and report.html if the gate judged; returns the outcome with the gate's last word.

    Raises RemoteError if the folder cannot be written or the gate is gone.
    """
    page = b""
    if gate is not None and outcome.rollout is not None:
        rollout = str(outcome.rollout["id"])
        outcome = replace(outcome, rollout=gate.details(rollout))
        page = gate.page(rollout)
    value = {"rehearsal": outcome.to_json(), "rollout": outcome.rollout}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / "report.json", json.dumps(value, indent=1).encode() + b"\n")
        if page:
            replace_file(folder / "report.html", page)
    except OSError as error:
        raise RemoteError(folder, f"the report cannot be written: {error.strerror}") from error
    return outcome
