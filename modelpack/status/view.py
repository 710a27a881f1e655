"""What one look at a Canary found, as values and as JSON. Times are unix seconds, weights percent."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from modelpack.gitops import digest_of, version_of
from modelpack.rollout import UNDER_WAY, Phase
from modelpack.status.progress import Step, next_step, share

if TYPE_CHECKING:
    from modelpack.rollout.observed import Observed

_SHA = re.compile(r"sha256:([0-9a-f]{12})[0-9a-f]{52}")


@dataclass(frozen=True)
class Named:
    """What the branch's tip says. `missing` is why nothing is known, "" if something is."""

    image: str = ""
    file: str = ""
    branch: str = ""
    commit: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened; `source` is "flagger", "gate" or "person"."""

    at: float
    message: str
    warning: bool = False
    source: str = "flagger"


@dataclass(frozen=True)
class Check:
    """A check's evidence. `estimate` is canary minus primary; `n` and `n_primary` count what each side answered."""

    name: str
    type: str
    verdict: str
    reason: str
    share: bool = False
    unit: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    n_primary: int = 0


@dataclass(frozen=True)
class Judgement:
    """The gate's newest rollout of a Canary. `last_call` is when Flagger was last heard of."""

    rollout: str
    image: str
    verdict: str
    reason: str
    state: str
    final: bool = False
    ended: bool = False
    checks: tuple[Check, ...] = ()
    last_call: float = 0.0

    @property
    def needs_person(self) -> bool:
        """Whether a person may end the wait, by an approval or a rejection."""
        return self.state == "active" and not self.ended and self.verdict == "hold"


@dataclass(frozen=True)
class Unseen:
    """A Canary among others that cannot be looked at, and why: it may be somebody else's."""

    namespace: str
    name: str
    problem: str

    def to_json(self) -> dict[str, Any]:
        return {"namespace": self.namespace, "name": self.name, "error": self.problem}


@dataclass(frozen=True)
class View:
    """One look. `gate` is None where the gate knows no rollout, or could not be asked: then `gate_missing` says why.

    `gate_address` is where a person reaches the gate, "" if only through the API server. `events_missing`: why the
    cluster's events are not among `events`, "" if they are.
    `stopped`: nothing ticks here, as a rehearsal has ended in the middle.
    """

    at: float
    seen: Observed
    git: Named
    gate: Judgement | None = None
    gate_missing: str = ""
    gate_address: str = ""
    events: tuple[Event, ...] = ()
    events_missing: str = ""
    stopped: bool = False

    @property
    def under_way(self) -> bool:
        return self.seen.phase in UNDER_WAY

    @property
    def judged(self) -> Judgement | None:
        """The gate's judgement, if it is about what the canary runs now."""
        gate = self.gate
        if gate is None or gate.ended or not self.under_way:
            return None
        return gate if same(gate.image, self.seen.canary_image) or gate.state != "active" else None

    @property
    def gate_is_earlier(self) -> bool:
        """Whether the gate's newest rollout is not about what happens now: a new one is not judged yet."""
        return (
            self.gate is not None
            and self.judged is None
            and self.seen.phase not in (Phase.SUCCEEDED.value, Phase.FAILED.value)
        )

    @property
    def next(self) -> Step:
        if self.stopped and self.under_way:
            return Step("nothing under way: the rehearsal has ended, the next one starts over from the primary")
        return next_step(self.seen, self.judged, self.at, gate_missing=bool(self.gate_missing))

    @property
    def git_says(self) -> str:
        """How what Git names stands to what runs."""
        if self.under_way:
            if same(self.git.image, self.seen.canary_image):
                return "which the canary runs"
            if same(self.git.image, self.seen.primary_image):
                return "which the primary serves; the canary is no longer named"
        elif same(self.git.image, self.seen.primary_image):
            return "which serves"
        elif self.seen.phase == Phase.FAILED.value and self.failed(self.git.image):
            known = self.gate is None or same(self.gate.image, self.git.image)  # settle asks the gate what failed
            return "which was rolled back" + (
                "; settle has yet to put Git right" if known else " unjudged: a person has to look"
            )
        return "not yet applied"

    def failed(self, image: str) -> bool:
        """Whether an image is the one that was rolled back, by what the gate or the canary's Deployment says."""
        gate = self.gate
        return same(image, self.seen.canary_image) or bool(gate and gate.state == "failed" and same(image, gate.image))

    def to_json(self) -> dict[str, Any]:
        seen, step = self.seen, self.next
        gate: dict[str, Any] | None = None
        if self.gate_missing:
            gate = {"error": self.gate_missing}
        elif self.gate:
            gate = {
                "rollout": self.gate.rollout,
                **_image(self.gate.image),
                "verdict": self.gate.verdict,
                "reason": self.gate.reason,
                "final": self.gate.final,
                "state": self.gate.state,
                "earlier": self.gate_is_earlier,
                "checks": [
                    {"nPrimary" if key == "n_primary" else key: value for key, value in asdict(each).items()}
                    for each in self.gate.checks
                ],
            }
        git: dict[str, Any] = {"error": self.git.missing}
        if not self.git.missing:
            where = {"file": self.git.file, "branch": self.git.branch, "commit": self.git.commit}
            git = {**_image(self.git.image), **where, "says": self.git_says}
        return {
            "at": self.at,
            "namespace": seen.namespace,
            "name": seen.name,
            "phase": seen.phase,
            "message": seen.message,
            "weight": share(seen),
            "steps": list(seen.steps),
            "iterations": seen.iterations,
            "analysisIterations": seen.analysis_iterations,
            "failedChecks": seen.failed_checks,
            "threshold": seen.threshold,
            "rollback": seen.rollback,
            "lastTransition": seen.last_transition or None,
            "git": git,
            "primary": _image(seen.primary_image),
            "canary": _image(seen.canary_image) if self.under_way else None,
            "next": {"text": step.text, "seconds": step.seconds, "waitsFor": step.waits_for or None},
            "gate": gate,
            "events": [asdict(each) for each in self.events],
            "eventsError": self.events_missing or None,
        }


def same(one: str, other: str) -> bool:
    """Whether two images are one: by digest where both have it, else by repository and tag."""
    if digest_of(one) and digest_of(other):
        return digest_of(one) == digest_of(other)
    return bool(one) and one.partition("@")[0] == other.partition("@")[0]


def short(image: str) -> str:
    """An image for people: `v2 (0123456789ab)`, without the digest where it has none."""
    found = _SHA.fullmatch(digest_of(image))
    version = version_of(image)
    return f"{version} ({found[1]})" if found and not version.startswith("sha256:") else version


def _image(image: str) -> dict[str, str]:
    return {"image": image, "version": version_of(image) if image else "", "digest": digest_of(image)}
