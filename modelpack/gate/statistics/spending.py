"""How high a sum may climb until its climb is no chance any more, however often one looks.

A test that is looked at K times may spend its chance of a false alarm, alpha, on the looks as it likes, as long as what
is spent up to a look depends on nothing but how much of the time has passed: Lan and DeMets, "Discrete sequential
boundaries for clinical trials", Biometrika 70 (1983); for exact discrete data Jennison and Turnbull, "Group sequential
methods with applications to clinical trials" (2000), chapter 12, and Silva and Kulldorff, "Continuous versus group
sequential analysis for post-market drug and vaccine safety surveillance", Biometrics 71 (2015).

The distribution of the sum over all paths that no look has stopped yet is kept exactly, on a lattice: each look
convolves it with the distribution of what came in, and cuts off as much of the top as the spending allows. What a look
cannot use, because one more state would be too much, is left for later ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

# The share of the time after which so much of alpha is spent: its square root, which is early (12 looks of 48 may spend
# half): a bad version costs the more the longer it serves. benchmarks/gate has this beside others.
POWER = 0.5
RESERVE = 0.05  # of alpha, for looks after the end: a rollout that waits for a person is still watched
STATES = 1024  # of the lattice, beyond which it gets coarser
NOTHING = 1e-18  # the probability of a state at the bottom that is not worth keeping


class Reach(NamedTuple):
    """For each look: `above`, how far above its mean a sum that no look has stopped cannot be; `known`, whether chance
    is why, and not that there is nothing higher; `allowed`, the probability that the look may spend."""

    above: Floats
    known: npt.NDArray[np.bool_]
    allowed: Floats


def spent(ends: Floats, alpha: float) -> Floats:
    """How much of alpha may be spent by then; `ends` are shares of the horizon, and may be above 1."""
    ends = np.maximum.accumulate(np.maximum(ends, 0.0))
    late = 1.0 - RESERVE / np.maximum(ends, 1.0)
    return alpha * np.minimum(np.minimum(ends, 1.0) ** POWER, 1.0) * late


def scales(sizes: Floats) -> Floats:
    """By which power of 2 to divide what comes in at each look, so that the lattice keeps to its size."""
    total = np.maximum(np.cumsum(sizes), 1.0)
    return np.maximum(2.0 ** np.ceil(np.log2(total / STATES)), 1.0)


def whole(sizes: Floats, scale: Floats) -> Whole:
    """Sizes divided by their scales, in whole numbers whose sum is never off by more than a half."""
    total: Floats = np.rint(np.cumsum(sizes / scale))
    return np.diff(total, prepend=0.0).astype(np.int64)


def reach(steps: Sequence[Floats], scale: Floats, ends: Floats, alpha: float) -> Reach:
    """`steps` are the probabilities of 0, 1, 2, … that each look adds to the sum. At a scale of s the sum's deviation
    from its mean is held in units of sqrt(s), and so is its variance the one of sums s times as large."""
    budget = spent(ends, alpha)
    above, allowed = np.zeros(len(steps)), np.zeros(len(steps))
    known = np.zeros(len(steps), dtype=bool)
    alive, lowest, mean, used, unit = np.ones(1), 0, 0.0, 0.0, 1.0
    for look, step in enumerate(steps):
        while unit < scale[look]:
            alive, lowest, mean, unit = *_coarser(alive, lowest), mean / math.sqrt(2.0), unit * 2.0
        if len(step) > 1:
            alive = np.convolve(alive, step)
            mean += float(step @ np.arange(len(step)))
            unlikely = int((alive > NOTHING).argmax())
            alive, lowest = alive[unlikely:], lowest + unlikely
        allowed[look] = budget[look] - used
        tail = alive[::-1].cumsum()
        cut = int(tail.searchsorted(allowed[look], side="right"))
        if cut:
            used += float(tail[cut - 1])
            alive = alive[: len(alive) - cut]
        known[look] = used > 0
        # half a state below, so that being above it is being at least at the lowest state that was cut off
        above[look] = math.sqrt(unit) * (lowest + len(alive) - 0.5 - mean)
    return Reach(above, known, allowed)


def _coarser(alive: Floats, lowest: int) -> tuple[Floats, int]:
    """The same on a lattice sqrt(2) times as wide. What lies between two states is shared out so that the mean stays;
    its variance grows a little, which is on the safe side."""
    place = (lowest + np.arange(len(alive))) / math.sqrt(2.0)
    below = np.floor(place).astype(np.int64)
    upper, first = place - below, int(below[0])
    found: Floats = np.bincount(below - first, alive * (1.0 - upper), len(alive) + 1).astype(np.float64)
    found[1:] += np.bincount(below - first, alive * upper, len(alive))
    return np.trim_zeros(found, "b"), first
