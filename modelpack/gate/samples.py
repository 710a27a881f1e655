"""Raw counters over time, and how much they went up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from modelpack.gate.selectors import Selector

BUCKET, BOUND = "_bucket", "le"

Point = tuple[float, float]  # unix seconds, value
Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Series:
    """One counter: its labels, metric included, and its points in order of time."""

    metric: str
    labels: Mapping[str, str]
    points: tuple[Point, ...]

    @property
    def key(self) -> Key:
        return (("", self.metric), *sorted(self.labels.items()))


class MetricSource(Protocol):
    """Where counters come from. Raw ones: whoever counts has to see each point's own time."""

    def samples(self, selector: Selector, role: str, start: float, end: float) -> list[Series]:
        """The series that `selector` names for `role`, with the points from `start` to `end`.

        A counter that was looked for and not there has a point of value zero at that time, if it is there later: Envoy
        shows a counter once it is first used. Raises RemoteError if the source cannot be read.
        """
        ...


def increase(before: float, after: float) -> float:
    """How much a counter went up between two points; where it falls it was reset, and counts from zero again."""
    return after - before if after >= before else after


def bound(labels: Mapping[str, str]) -> float | None:
    """The upper bound of a histogram's bucket; None for a series that is none."""
    try:
        return float(labels.get(BOUND, "").replace("+Inf", "inf"))
    except ValueError:
        return None


def slower(buckets: Mapping[float, float], threshold: float) -> tuple[float, float]:
    """(all, slower than the threshold) of observations at or below each bound; both bounds have to be there."""
    return buckets[math.inf], max(0.0, buckets[math.inf] - buckets[threshold])
