"""Raw counters over time, and how much they went up."""

from __future__ import annotations

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

    def query(self, text: str, at: float) -> float | None:
        """The one number that PromQL gives at a time, None if there is none. Raises ModelpackError otherwise."""
        ...


def increase(before: float, after: float) -> float:
    """How much a counter went up between two points; where it falls it was reset, and counts from zero again."""
    return after - before if after >= before else after
