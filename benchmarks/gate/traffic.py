"""Whole rollouts as counts: 12 intervals of 4 slices, each looked at when it is full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

INTERVALS, SLICES = 12, 4
ENDS = np.arange(1, INTERVALS * SLICES + 1) / (INTERVALS * SLICES)

CLIMB = (0.1, 0.2, 0.3, 0.4) + (0.5,) * 8  # share of traffic per interval
TIMID = (0.01, 0.02, 0.05, 0.05) + (0.1,) * 4 + (0.2,) * 4
HALVES = (0.5,) * INTERVALS


@dataclass(frozen=True)
class Traffic:
    """`baseline(start, progress)` is the primary's share of bad requests, `requests` those of one interval.

    `bursty`: how much the number of requests varies from slice to slice, as a coefficient of variation. Bad requests
    come `together` as many at once; `sticky`: these reach one version, otherwise each is routed by itself.
    """

    name: str
    weights: tuple[float, ...] = CLIMB
    requests: int = 3000
    baseline: Callable[[Floats, Floats], Floats] = lambda start, progress: start + 0.0 * progress
    bursty: float = 0.0
    together: int = 1
    sticky: bool = True


def rising(start: Floats, progress: Floats) -> Floats:
    return 0.005 + 0.010 * progress + 0.0 * start


def rising_early(start: Floats, progress: Floats) -> Floats:
    return 0.005 + 0.010 * np.minimum(progress * 12 / 5, 1.0) + 0.0 * start


def falling(start: Floats, progress: Floats) -> Floats:
    return 0.015 - 0.010 * progress + 0.0 * start


def outages(start: Floats, progress: Floats) -> Floats:
    return start * np.where((progress * 12).astype(int) % 3 == 1, 5.0, 1.0)


def many(start: Floats, progress: Floats) -> Floats:
    return 20.0 * start + 0.0 * progress


YARDSTICK = Traffic("constant, 0.3-1.5 %")
EVERY = (
    YARDSTICK,
    Traffic("rises with the weights", baseline=rising_early),
    Traffic("rises all the time", baseline=rising),
    Traffic("falls all the time", baseline=falling),
    Traffic("outages of both", baseline=outages),
    Traffic("bursty traffic", bursty=1.0),
    Traffic("timid weights, rises", TIMID, baseline=rising),
    Traffic("half and half", HALVES),
    Traffic("100 an interval, rises", requests=100, baseline=rising),
    Traffic("100 an interval, timid", TIMID, 100),
    Traffic("6-30 % are bad", baseline=many),
)
TOGETHER = (
    Traffic("3 at once, each routed by itself", together=3, sticky=False),
    Traffic("3 at once, of one version", together=3),
    Traffic("8 at once, of one version", together=8),
)


@dataclass(frozen=True)
class Rollouts:
    """(rollouts, slices) arrays of requests and bad ones among them; `worse` is the canary's true share,
    `weights` are those of the intervals."""

    canary: Floats
    canary_bad: Floats
    primary: Floats
    primary_bad: Floats
    worse: Floats
    weights: tuple[float, ...]

    def table(self, index: int) -> Floats:
        """The rows of `counts.Counts`, without slices that lack one version."""
        found = np.stack(
            [self.canary[index], self.canary_bad[index], self.primary[index], self.primary_bad[index], ENDS]
        )
        return found[:, (found[0] > 0) & (found[2] > 0)]


def simulate(traffic: Traffic, extra: float, rollouts: int, rng: np.random.Generator) -> Rollouts:
    """Rollouts of a canary that is `extra` worse, in share of requests."""
    weights = np.repeat(traffic.weights, SLICES)
    progress = np.arange(len(weights)) / (len(weights) - 1)
    start = rng.uniform(0.003, 0.015, (rollouts, 1))
    base = np.array(traffic.baseline(start, progress[None, :]))
    mean = np.full(base.shape, traffic.requests / SLICES)
    if traffic.bursty:
        shape = 1.0 / traffic.bursty**2
        mean = mean * rng.gamma(shape, 1.0 / shape, base.shape)
    requests = rng.poisson(mean)
    canary = rng.binomial(requests, weights)
    primary = requests - canary
    worse = np.clip(base + extra, 0, 1)
    bad = [_bad(of, share, traffic, rng) for of, share in ((canary, worse), (primary, base))]
    if traffic.together > 1 and not traffic.sticky:
        both = bad[0] + bad[1]
        bad[0] = rng.binomial(both, canary * worse / np.maximum(canary * worse + primary * base, 1e-12))
        bad[1] = both - bad[0]
    return Rollouts(
        canary.astype(float),
        np.minimum(bad[0], canary).astype(float),
        primary.astype(float),
        np.minimum(bad[1], primary).astype(float),
        worse,
        traffic.weights,
    )


def _bad(
    requests: npt.NDArray[np.int64], share: Floats, traffic: Traffic, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    return np.asarray(traffic.together * rng.binomial(requests, share / traffic.together))
