"""What goes into a check and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from modelpack.gate.selectors import Selector

COUNTER = "counter"  # every series that matches is added up in one cell
HISTOGRAM = "histogram"  # a cell for each bucket bound, cumulative as Prometheus has them
GAUGE = "gauge"  # no counter: its latest value is one of the window's `values`
QUERY = "query"  # PromQL that gives one number, for the same
WAIT, PASS, FAIL = "wait", "pass", "fail"  # what a check says when there is no data

Value = float | str | bool
Cells = Mapping[str, float]


@dataclass(frozen=True)
class Need:
    """Metrics that a check rests on. `cell` names a counter's sum in a slice; a histogram's cells are its bounds
    ("0.1", "+Inf"). `by` is the label whose values are the segments, "" for none. `query` is PromQL, for QUERY alone.
    """

    cell: str
    selector: Selector | None
    kind: str = COUNTER
    by: str = ""
    query: str = ""

    @property
    def counted(self) -> bool:
        """Whether it goes into slices, and not into values."""
        return self.kind in (COUNTER, HISTOGRAM)


@dataclass(frozen=True)
class Slice:
    """What counters went up by while weight and both versions stayed as they were.

    `step` numbers the times of one weight; `end` is how much of the horizon had passed when the slice was full, 1.0 for
    all of it. A slice that is not `whole` may still grow.
    """

    step: int
    weight: float
    end: float
    canary: Cells
    primary: Cells
    whole: bool = True


@dataclass(frozen=True)
class Reply:
    """What one version answered to one golden request: a prediction, or why there is none."""

    value: Any = None
    error: str = ""


@dataclass(frozen=True)
class Pair:
    """One golden example as both versions answered it."""

    id: str
    canary: Reply
    primary: Reply


@dataclass(frozen=True)
class Told:
    """A prediction that a server told the gate of, by the role of its version; `t` in shares of the horizon.

    `truth` is None while nobody knows. The same `id` of both roles is one request that was mirrored.
    """

    id: str
    role: str
    value: Value
    t: float
    truth: Value | None = None
    segment: str = ""


@dataclass(frozen=True)
class Window:
    """All that was seen of a rollout so far, as one check gets it. What a check does not ask for is empty.

    `slices` are by segment, "" for all traffic together, oldest first. `values` are (seconds, value) of a metric,
    newest last. `elapsed` is how much of the horizon has passed, 1.0 or more when it is over. `alpha` is this check's
    share of the rollout's. `silent` is for how many seconds the canary, being under traffic, has answered nothing; from
    `patience` seconds on that is an answer in itself. `unreachable` says why the metrics cannot be read, if they can't.
    `rollback`: a person asked to go back to this version, so that being healthy is enough. `approved`: by whom.
    `ready`: every other check accepts.
    """

    slices: Mapping[str, tuple[Slice, ...]] = field(default_factory=dict)
    pairs: tuple[Pair, ...] | None = None  # until the golden set has been asked
    told: tuple[Told, ...] = ()
    values: tuple[tuple[float, float], ...] = ()
    elapsed: float = 0.0
    alpha: float = 0.05
    silent: float = 0.0
    patience: float = 60.0
    unreachable: str = ""
    rollback: bool = False
    approved: str = ""
    ready: bool = False

    @property
    def all(self) -> tuple[Slice, ...]:
        return self.slices.get("", ())


@dataclass(frozen=True)
class Part:
    """One segment, class or metric of a check's evidence, for its table."""

    name: str
    verdict: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    canary: float | None = None
    primary: float | None = None
    n_primary: int = 0


@dataclass(frozen=True)
class Bins:
    """Two distributions over the same bins, in shares. `edges` are one more than there are bins, or the bins' names."""

    name: str
    edges: tuple[float | str, ...]
    canary: tuple[float, ...]
    against: tuple[float, ...]
    against_name: str = "primary"


@dataclass(frozen=True)
class Evidence:
    """What a check says. `estimate` is canary minus primary, with its interval; None where there is no number yet.

    `n` and `n_primary` count what it rests on: requests, golden examples, predictions. `worst` are the examples to look
    at first.
    """

    verdict: str
    reason: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    canary: float | None = None
    primary: float | None = None
    worst: tuple[dict[str, Any], ...] = ()
    n_primary: int = 0
    parts: tuple[Part, ...] = ()
    bins: tuple[Bins, ...] = ()


class Check(Protocol):
    """What the engine asks of a check; `description` is its static part in the API's JSON."""

    type: ClassVar[str]
    compares: ClassVar[bool]  # whether it uses up a share of alpha

    @property
    def name(self) -> str: ...

    @property
    def alpha(self) -> float | None:
        """Its own alpha, None for an equal share of what is left."""
        ...

    @property
    def needs(self) -> tuple[Need, ...]:
        """The counters that it rests on."""
        ...

    def evaluate(self, window: Window) -> Evidence: ...

    def description(self) -> dict[str, Any]: ...


@runtime_checkable
class ReadsFiles(Protocol):
    """A check that rests on files beside gate.yaml."""

    def with_files(self, files: Mapping[str, bytes], folder: str) -> Check:
        """The check with what its files say; raises InputError with `folder`, file and line."""
        ...
