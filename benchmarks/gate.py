"""How often the gate's sequential test is wrong, how much it catches, and how many requests that costs.

Simulates whole rollouts with a fixed seed, looked at after every interval, through the very functions that the gate
uses. Prints a table. Run it with: python benchmarks/gate.py [--rollouts 10000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelpack.gate.checks.comparison import SHARPEST
from modelpack.gate.sequential import bounds

Floats = npt.NDArray[np.float64]
ALPHA = 0.05
SEED = 20261122

CLIMB = np.array([10, 20, 30, 40] + [50] * 8) / 100  # percent of traffic per interval, at most 12 intervals
TIMID = np.array([1, 2, 5, 5, 10, 10, 10, 10, 20, 20, 20, 20]) / 100
HALVES = np.full(12, 0.5)
LOOKS = 4  # per interval


@dataclass(frozen=True)
class Traffic:
    """`baseline(start, progress)` is the primary's share of bad requests, `requests` those of one interval."""

    name: str
    weights: Floats
    requests: int
    baseline: Callable[[Floats, Floats], Floats]


def constant(start: Floats, progress: Floats) -> Floats:
    return np.broadcast_to(start, np.broadcast_shapes(start.shape, progress.shape))


def rising(start: Floats, progress: Floats) -> Floats:
    return 0.005 + 0.010 * progress + 0.0 * start


def rising_early(start: Floats, progress: Floats) -> Floats:
    return 0.005 + 0.010 * np.minimum(progress * 12 / 5, 1.0) + 0.0 * start


def falling(start: Floats, progress: Floats) -> Floats:
    return 0.015 - 0.010 * progress + 0.0 * start


def bursts(start: Floats, progress: Floats) -> Floats:
    return start * np.where((progress * 12).astype(int) % 3 == 1, 5.0, 1.0)


TRAFFIC = (
    Traffic("constant", CLIMB, 3000, constant),
    Traffic("rises 0.5 to 1.5 %", CLIMB, 3000, rising),
    Traffic("falls 1.5 to 0.5 %", CLIMB, 3000, falling),
    Traffic("bursts", CLIMB, 3000, bursts),
    Traffic("timid weights", TIMID, 3000, rising),
    Traffic("halves", HALVES, 3000, constant),
    Traffic("little traffic", CLIMB, 100, constant),
    Traffic("little traffic, rises", CLIMB, 100, rising),
    Traffic("timid, little traffic", TIMID, 100, constant),
    Traffic("rises with the weights", CLIMB, 3000, rising_early),
)


@dataclass(frozen=True)
class Counts:
    """(rollouts, looks) arrays: requests and bad ones between two looks."""

    canary: Floats
    canary_bad: Floats
    primary: Floats
    primary_bad: Floats
    weights: Floats


def simulate(traffic: Traffic, extra: float, rollouts: int, rng: np.random.Generator) -> Counts:
    """Rollouts of a canary that is `extra` worse, in share of requests."""
    weights = np.repeat(traffic.weights, LOOKS)
    progress = np.arange(len(weights)) / (len(weights) - 1)
    start = rng.uniform(0.003, 0.015, (rollouts, 1))
    base = np.array(traffic.baseline(start, progress[None, :]))
    requests = rng.poisson(traffic.requests / LOOKS, base.shape)
    canary = rng.binomial(requests, weights)
    primary = requests - canary
    return Counts(
        canary.astype(float),
        rng.binomial(canary, np.clip(base + extra, 0, 1)).astype(float),
        primary.astype(float),
        rng.binomial(primary, base).astype(float),
        weights,
    )


def strata_ends(weights: Floats, way: str) -> list[int]:
    """For each look, the number of its stratum: one for all, one a weight, or one a look."""
    if way == "totals":
        return [0] * len(weights)
    if way == "looks":
        return list(range(len(weights)))
    return list(np.cumsum(np.diff(weights, prepend=weights[0]) != 0))


@dataclass(frozen=True)
class Outcome:
    """(rollouts,) arrays; `reject_at` and `accept_at` are looks, or the number of looks where it never came."""

    reject_at: npt.NDArray[np.int64]
    accept_at: npt.NDArray[np.int64]
    exposed: Floats
    looks: int

    @property
    def rejected(self) -> float:
        return float((self.reject_at < np.minimum(self.accept_at, self.looks)).mean())

    @property
    def ever_rejected(self) -> float:
        return float((self.reject_at < self.looks).mean())

    @property
    def accepted(self) -> float:
        return float((self.accept_at < np.minimum(self.reject_at, self.looks)).mean())

    @property
    def requests(self) -> float:
        """Canary requests until the rejection, on average over the rejected."""
        found = self.exposed[self.reject_at < self.looks]
        return float(found.mean()) if found.size else float("nan")


def judge(counts: Counts, way: str, margin: float, min_sample: int, alpha: float = ALPHA) -> Outcome:
    """Look after every look, and note the first rejection and the first acceptance."""
    stratum = strata_ends(counts.weights, way)
    rows, looks = counts.canary.shape
    table = np.zeros((4, rows, stratum[-1] + 1))
    reject_at, accept_at = np.full(rows, looks), np.full(rows, looks)
    exposed = np.zeros(rows)
    for look in range(looks):
        for index, each in enumerate((counts.canary, counts.canary_bad, counts.primary, counts.primary_bad)):
            table[index, :, stratum[look]] += each[:, look]
        seen = table[:, :, : stratum[look] + 1]
        _, low, high, *_ = bounds(*seen, margin=margin, alpha=alpha, sharpest=SHARPEST * min_sample)
        n = table[0].sum(axis=-1)
        exposed = np.where(reject_at == looks, n, exposed)
        reject_at = np.where((reject_at == looks) & (low > margin), look, reject_at)
        accept_at = np.where((accept_at == looks) & (high < margin) & (n >= min_sample), look, accept_at)
    return Outcome(reject_at, accept_at, exposed, looks)


def line(*cells: object) -> None:
    first, *rest = cells
    print(f"{first!s:<26}" + "".join(f"{cell!s:>16}" for cell in rest))


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=10_000)
    rollouts = parser.parse_args().rollouts
    begun = time.perf_counter()
    print(f"{rollouts} rollouts a row, {LOOKS} looks an interval, alpha {ALPHA:.0%}, seed {SEED}\n")

    print("Good models rejected at any look (canary exactly as good, margin 0)")
    line("baseline", "totals", "by weight", "by look")
    for traffic in TRAFFIC:
        counts = simulate(traffic, 0.0, rollouts, np.random.default_rng(SEED))
        line(
            traffic.name,
            *(percent(judge(counts, way, 0.0, 500).ever_rejected) for way in ("totals", "weights", "looks")),
        )

    print("\nWrong verdicts at the margin of 2 points (canary exactly 2 points worse), by weight")
    line("baseline", "rejected", "accepted")
    for traffic in TRAFFIC:
        found = judge(simulate(traffic, 0.02, rollouts, np.random.default_rng(SEED)), "weights", 0.02, 500)
        line(traffic.name, percent(found.rejected), percent(found.accepted))

    print("\nWhat is caught, and how many canary requests that takes, by weight, baseline 0.3 to 1.5 %")
    line("canary is worse by", "margin", "stopped", "requests", "accepted", "traffic")
    for extra, margin, traffic in (
        (0.005, 0.0, TRAFFIC[0]),
        (0.01, 0.0, TRAFFIC[0]),
        (0.2, 0.0, TRAFFIC[0]),
        (0.0, 0.02, TRAFFIC[0]),
        (0.01, 0.02, TRAFFIC[0]),
        (0.04, 0.02, TRAFFIC[0]),
        (0.2, 0.02, TRAFFIC[0]),
        (0.2, 0.02, TRAFFIC[6]),
    ):
        found = judge(simulate(traffic, extra, rollouts, np.random.default_rng(SEED)), "weights", margin, 500)
        line(
            f"{100 * extra:g} points",
            f"{100 * margin:g}",
            percent(found.rejected),
            f"{found.requests:.0f}",
            percent(found.accepted),
            traffic.name,
        )
    print(f"\n{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
