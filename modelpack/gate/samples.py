"""Raw counters over time, and how much they went up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

BUCKET, BOUND = "_bucket", "le"


@dataclass(frozen=True)
class Series:
    """One counter: its labels, and `(unix seconds, value)` in order of time."""

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]


def increase(points: Sequence[tuple[float, float]]) -> float:
    """How much a counter went up; where it falls it was reset, and counts from zero again."""
    total = 0.0
    for (_, before), (_, after) in pairwise(points):
        total += after - before if after >= before else after
    return total


def total_increase(series: Iterable[Series]) -> float:
    """Over all series: replicas, response classes."""
    return sum(increase(each.points) for each in series)


def bucket_increases(series: Iterable[Series]) -> dict[float, float]:
    """Of a histogram's `_bucket` series: observations at or below each bound, over all series with that bound."""
    found: dict[float, float] = {}
    for each in series:
        try:
            bound = float(each.labels.get(BOUND, "").replace("+Inf", "inf"))
        except ValueError:
            continue
        found[bound] = found.get(bound, 0.0) + increase(each.points)
    return found


def slower(buckets: dict[float, float], threshold: float) -> tuple[float, float] | None:
    """(all, slower than the threshold) of a histogram; None if the threshold is not one of its bounds."""
    if threshold not in buckets or math.inf not in buckets:
        return None
    return buckets[math.inf], max(0.0, buckets[math.inf] - buckets[threshold])
