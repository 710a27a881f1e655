"""A candidate held against the current model and fixed limits, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

REGRESSION = ("mae", "rmse", "r2")
CLASSIFICATION = ("accuracy", "precision", "recall", "f1")  # of several classes: their plain mean
METRICS = (*REGRESSION, *CLASSIFICATION)
LOWER_IS_BETTER = frozenset({"mae", "rmse"})


@dataclass(frozen=True)
class Criterion:
    """What a metric must keep: not worse than the current model's by more than `margin`, and `limit` at worst (a
    ceiling where lower is better, else a floor), None for any."""

    metric: str
    margin: float = 0.0
    limit: float | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table. `data` is "held-out" or "benchmark"; `group` is "" for all rows, else like `origin=usa` or
    `class 3`; `n` counts rows; `low` and `high` bound the difference new - old. None: there is no current model, or too
    few rows. `verdict` is "pass", "fail", or "" where nothing is asked of it; `reason` says what failed."""

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
