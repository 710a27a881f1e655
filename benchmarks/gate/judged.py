"""What becomes of rollouts: under the gate's test, under Flagger's thresholds, under the test the gate had before."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.gate.traffic import INTERVALS, SLICES, Floats, Rollouts
from modelpack.gate.statistics.counts import looks
from modelpack.gate.statistics.mean import mixture

Whole = npt.NDArray[np.int64]
NEVER = INTERVALS * SLICES


@dataclass(frozen=True)
class Outcome:
    """(rollouts,) arrays: the slices after which it was rejected and accepted first, NEVER if not; canary requests by
    then, or in all."""

    rejected: Whole
    accepted: Whole
    exposed: Floats

    @property
    def stopped(self) -> float:
        return float((self.rejected < NEVER).mean())

    @property
    def let_through(self) -> float:
        """Accepted before any rejection."""
        return float((self.accepted < np.minimum(self.rejected, NEVER)).mean())

    @property
    def requests(self) -> float:
        """Canary requests until the rejection, on average over the rejected."""
        found = self.exposed[self.rejected < NEVER]
        return float(found.mean()) if found.size else math.nan


def by_gate(
    rollouts: Rollouts,
    margin: float = 0.0,
    alpha: float = 0.05,
    overdispersion: float | None = 1.0,
    min_sample: int = 1,
) -> Outcome:
    rejected, accepted = (np.full(len(rollouts.canary), NEVER) for _ in range(2))
    for index in range(len(rejected)):
        table = rollouts.table(index)
        found = looks(table, margin=margin, alpha=alpha, overdispersion=overdispersion)
        slices = np.rint(table[4] * NEVER).astype(int) - 1
        rejected[index] = _first(found.low > margin, slices)
        enough = np.cumsum(table[0]) >= min_sample
        accepted[index] = _first((found.high < margin) & enough & (margin > 0), slices)
    return Outcome(rejected, accepted, _exposed(rollouts, rejected))


def by_mixture(rollouts: Rollouts, alpha: float = 0.05, sharpest: float = 1000.0) -> Outcome:
    """A normal mixture, which spends alpha over all sample sizes up to infinity; margin 0, slices as strata."""
    canary, canary_bad, primary, primary_bad = (
        np.asarray(each) for each in (rollouts.canary, rollouts.canary_bad, rollouts.primary, rollouts.primary_bad)
    )
    total = np.maximum(canary + primary, 1.0)
    bad = canary_bad + primary_bad
    size = np.cumsum(canary * primary / total, axis=1)
    share = bad / total
    variance = np.cumsum(canary * primary / total * share * (1 - share), axis=1) + 1.0
    reach = mixture(np.maximum(size, 1e-9), alpha, sharpest) * np.sqrt(variance)
    above = np.cumsum(canary_bad - bad * canary / total, axis=1) > reach
    rejected = np.where(above.any(axis=1), above.argmax(axis=1), NEVER)
    return Outcome(rejected, np.full(len(rejected), NEVER), _exposed(rollouts, rejected))


def by_flagger(rollouts: Rollouts, least: float = 0.985, checks: int = 3, *, holds: bool = True) -> Outcome:
    """One check an interval, on the interval's own success rate of the canary; so many failed ones roll back.

    As Flagger has it (`holds`) the weight only climbs after a check that passed, and as many that passed as the climb
    has steps promote, five at least; the same requests are split again by that weight. Else the weights climb in any
    case, and so many intervals are all.
    """
    rng = np.random.default_rng(7)
    shape = (len(rollouts.canary), INTERVALS, SLICES)
    total = (rollouts.canary + rollouts.primary).reshape(shape)
    worse = (rollouts.worse * (rollouts.canary + rollouts.primary)).reshape(shape).sum(axis=-1)
    total = total.sum(axis=-1)
    steps = max(5, 1 + rollouts.weights.index(max(rollouts.weights)))
    passed, failed = (np.zeros(shape[0], dtype=int) for _ in range(2))
    rejected, accepted = (np.full(shape[0], NEVER) for _ in range(2))
    exposed = np.zeros(shape[0])
    for interval in range(INTERVALS):
        going = (rejected == NEVER) & (accepted == NEVER)
        step = passed if holds else passed + failed
        weight = np.array(rollouts.weights)[np.minimum(step, INTERVALS - 1)]
        requests = rng.binomial(total[:, interval].astype(int), weight)
        bad = rng.binomial(requests, np.clip(worse[:, interval] / np.maximum(total[:, interval], 1.0), 0, 1))
        good = (requests == 0) | (1.0 - bad / np.maximum(requests, 1) >= least)
        exposed += np.where(going, requests, 0)
        passed, failed = passed + (going & good), failed + (going & ~good)
        end = (interval + 1) * SLICES - 1
        rejected[going & (failed >= checks)] = end
        accepted[going & (failed < checks) & ((passed if holds else passed + failed) >= steps)] = end
    return Outcome(rejected, accepted, exposed)


def _first(hits: npt.NDArray[np.bool_], slices: Whole) -> int:
    return int(slices[hits.argmax()]) if hits.any() else NEVER


def _exposed(rollouts: Rollouts, until: Whole) -> Floats:
    total = np.cumsum(rollouts.canary, axis=1)
    found: Floats = total[np.arange(len(total)), np.minimum(until, NEVER - 1)]
    return found
