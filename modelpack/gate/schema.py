"""The JSON that the gate reads and writes, as OpenAPI describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from modelpack.errors import InputError
from modelpack.gate.checks import Check
from modelpack.gate.config import GateConfig
from modelpack.gate.engine import Gate
from modelpack.gate.method import budget, method
from modelpack.gate.rollouts import Approval, Call, Rollout
from modelpack.gate.store import Store
from modelpack.text import blanked

# control characters have no place in names; PostgreSQL and log lines would choke on them
_Name = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
_Short = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Text = Annotated[str, StringConstraints(max_length=4096)]
Verdict = Literal["pending", "undecided", "hold", "accept", "reject"]
State = Literal["active", "promoted", "failed", "superseded", "withdrawn"]


class Webhook(BaseModel):
    """What Flagger posts. `metadata.model` names the folder of gate.yaml."""

    model_config = ConfigDict(extra="ignore")

    name: _Name
    namespace: _Name
    phase: _Short = ""
    checksum: _Short = ""
    metadata: dict[_Short, _Text] | None = Field(default=None, max_length=100)

    def call(self, hook: str) -> Call:
        metadata = self.metadata or {}
        message = blanked(metadata.get("eventMessage", ""))
        return Call(hook, self.namespace, self.name, self.phase, self.checksum, metadata.get("model", ""), message)


class Note(BaseModel):
    """What became of a failed rollout in Git."""

    note: Annotated[str, StringConstraints(max_length=4096)] = ""

    def text(self) -> str:
        return blanked(self.note)


class ApprovalBody(BaseModel):
    """What a person decides about a rollout. A token says who decides; without tokens `by` does, and nobody checks."""

    decision: Literal["approve", "reject"]
    by: Annotated[_Short, StringConstraints(min_length=1, strip_whitespace=True)] | None = None
    note: Annotated[str, StringConstraints(max_length=1024)] = ""

    def approval(self, who: str) -> Approval | None:
        """The word of `who` a token says it is; None if nobody says."""
        by = who or self.by
        return Approval(self.decision == "approve", blanked(by), blanked(self.note).strip()) if by else None


class Approved(BaseModel):
    id: str
    verdict: Verdict
    reason: str
    final: bool


class Point(BaseModel):
    """A check's evidence at one time."""

    t: float = Field(description="unix seconds")
    weight: float
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    verdict: Verdict


class PartView(BaseModel):
    """One segment, class or metric of a check's evidence."""

    name: str
    verdict: Verdict
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    canary: float | None
    primary: float | None
    n_primary: int


class BinsView(BaseModel):
    """Two distributions over the same bins, in shares."""

    name: str
    edges: list[float | str] = Field(description="one more than there are bins, or their names")
    canary: list[float]
    against: list[float]
    against_name: str


class CheckView(BaseModel):
    """A check with its latest evidence; numbers are null until there are any."""

    name: str
    type: str = Field(description="as gate.yaml names it: golden, proportion, latency, …")
    statistic: str = Field(description="what is estimated: a golden set's metric, a share, a quantile")
    measures: str = Field(description="the same in words")
    method: str = Field("", description="how the verdict comes about, with its source")
    share: bool = Field(description="whether its numbers are shares from 0 to 1")
    better: Literal["lower", "higher"]
    counts: str = Field(description="what n counts: requests, examples, predictions")
    unit: str
    segments: str = Field("", description="the label whose values are its parts")
    verdict: Verdict
    reason: str
    estimate: float | None = Field(description="canary minus primary: a share, or in the metric's unit")
    low: float | None
    high: float | None
    n: int = Field(description="how many of the canary's")
    n_primary: int = Field(0, description="primary requests, or golden examples")
    limit: float | None = Field(description="an absolute bound, as a golden set's floor or a latency's threshold")
    margin: float | None = Field(description="how much worse than the primary the canary may be")
    min_sample: int | None
    alpha: float = Field(description="its share of the rollout's: the chance that it is wrong")
    canary: float | None
    primary: float | None
    parts: list[PartView] = []
    bins: list[BinsView] = []
    history: list[Point] = []


class WeightView(BaseModel):
    t: float
    weight: float


class EventView(BaseModel):
    """A webhook call and its answer."""

    t: float
    hook: str
    phase: str
    message: str
    answer: int
    reason: str


class GoldenView(BaseModel):
    """One of the canary's worst examples, of a golden set or of mirrored requests.

    `error` is its distance from `expected`, or why there is none.
    """

    check: str = Field("", description="the check that shows it")
    id: str
    segment: str
    expected: Any
    canary: Any
    primary: Any
    error: float | str


class RolloutView(BaseModel):
    """A rollout with everything that was decided about it. Times are unix seconds."""

    id: str
    namespace: str
    name: str
    model: str
    checksum: str
    image: str = Field(description="what the canary ran when the rollout was minted; the verdict is bound to it")
    primary_image: str = Field(description="what the primary ran beside it; once it failed, what the primary ran then")
    phase: str
    weight: float
    verdict: Verdict
    reason: str
    final: bool = Field(
        description="only a person ends this hold, or a person accepted: more evidence may reject, not accept"
    )
    state: State
    rollback: bool = Field(description="a person asked to go back to this version: being healthy is enough")
    settled: bool
    settled_note: str
    started: float
    ended: float | None
    horizon: float = Field(description="seconds under traffic after which an undecided rollout is held")
    alpha: float
    approved: str = Field(description="by whom, where a check asks for a person")
    traffic_started: float | None = Field(None, description="when the canary first got traffic")
    budget: str = Field("", description="the chance of a wrong verdict, and each check's part of it, in a sentence")
    checks: list[CheckView]
    weights: list[WeightView]
    events: list[EventView]
    golden: list[GoldenView]
    lineage: Any = Field(None, description="the image's chain of origin, as `modelpack lineage --json` gives it")


class RolloutList(BaseModel):
    """Newest first; without history, events and golden examples."""

    rollouts: list[RolloutView]
    total: int = Field(description="how many there are on all pages")
    next: str | None = Field(description="what `before` is for the next page, null on the last one")
    models: list[str] = Field(description="every model that ever had a rollout")


class Settled(BaseModel):
    id: str
    settled: bool
    settled_note: str


def described(check: Check) -> dict[str, Any]:
    """A check as gate.yaml has it."""
    return {"better": "lower", "counts": "requests", "method": method(check), **check.description()}


def view(rollout: Rollout, gate: Gate, store: Store, *, whole: bool) -> dict[str, Any]:
    """A rollout as JSON values; `whole` adds what grows with time."""
    config: GateConfig | None
    given: Sequence[Check]
    try:
        config = gate.config(rollout.id)
        given, chance = config.checks, budget(config)
    except InputError as error:  # of another version of modelpack: what it decided stays true
        config, given, chance = None, (), f"What it was judged by cannot be read any more: {error}"
    evidence = store.evidence(rollout.id)
    checks = []
    golden: list[dict[str, Any]] = []
    for check in given:
        found = evidence.get(check.name)
        keys = ("verdict", "reason", "estimate", "low", "high", "n", "canary", "primary", "n_primary")
        seen = (
            {key: getattr(found, key) for key in keys}
            if found
            else {"verdict": "pending", "reason": "", "n": 0, "n_primary": 0}
        )
        blank = {**dict.fromkeys(keys), "alpha": config.alpha_of(check) if config else None}
        more: dict[str, Any] = {"history": store.history(rollout.id, check.name)} if whole else {}
        if found and whole:
            more |= {key: [vars(each) for each in getattr(found, key)] for key in ("parts", "bins")}
        checks.append({"name": check.name, "type": check.type, **described(check), **blank, **seen, **more})
        golden += [{"check": check.name, **each} for each in found.worst] if found and whole else ()
    skipped = ("decision", "digest", "bound")
    values = {key: value for key, value in vars(rollout).items() if key not in skipped}
    return {
        **values,
        **vars(rollout.decision),
        "budget": chance,
        "checks": checks,
        "weights": store.weights(rollout.id) if whole else [],
        "events": store.events(rollout.id) if whole else [],
        "golden": golden,
    }
