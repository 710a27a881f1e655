"""A candidate held against the current model and fixed limits, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

REGRESSION = ("mae", "rmse", "r2")
CLASSIFICATION = ("accuracy", "precision", "recall", "f1")  # of several classes: their plain mean
METRICS = (*REGRESSION, *CLASSIFICATION)
LOWER_IS_BETTER = frozenset({"mae", "rmse"})
HELD_OUT, BENCHMARK, FOLDS = "held-out", "benchmark", "folds"  # what a row of the table was measured on


@dataclass(frozen=True)
class Criterion:
    """What a metric must keep: shown to be at most `margin` worse than the current model's, and `limit` at worst (a
    ceiling where lower is better, else a floor), None for any. `benchmark` is the limit on the benchmark's rows, None
    for the same one. A margin of 0.0 asks for an improvement that chance does not explain."""

    metric: str
    margin: float = 0.0
    limit: float | None = None
    benchmark: float | None = None

    def limit_on(self, data: str) -> float | None:
        return self.benchmark if data == BENCHMARK and self.benchmark is not None else self.limit


@dataclass(frozen=True)
class Row:
    """One line of the table. `data` is HELD_OUT, BENCHMARK or FOLDS; `group` is "" for all rows, else like
    `origin=usa` or `class 3`; `n` counts rows, of a class those that are of it. `low` and `high` bound the difference
    new - old. None: there is no current model, or too few rows. `verdict` is "pass", "fail", or "" where nothing is
    asked of it; `reason` says what failed, or what was left out."""

    data: str
    group: str
    metric: str
    n: int
    old: float | None
    new: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Evaluation:
    """What the quality gate found. `against` is the current model's version, "" if there was none; `data` the data
    version; `ended` in unix seconds; `digests` of what it was measured on, by its name in the rows."""

    model: str
    version: str
    against: str
    passed: bool
    reason: str
    confidence: float
    rows: tuple[Row, ...]
    data: str = ""
    code: str = ""
    run: str = ""
    ended: float = 0.0
    digests: Mapping[str, str] | None = None


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    return asdict(evaluation)


def from_json(value: Mapping[str, Any]) -> Evaluation:
    """Raises KeyError, TypeError or ValueError for what is no evaluation; unknown keys are ignored."""
    known = {key: value[key] for key in Evaluation.__dataclass_fields__ if key in value}
    rows = tuple(
        Row(**{key: each[key] for key in Row.__dataclass_fields__ if key in each}) for each in known.pop("rows")
    )
    return Evaluation(rows=rows, **known)
