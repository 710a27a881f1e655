"""Tables about what is watched after the promotion: false alarms a month, and how long a worsening goes on unseen."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.gate.table import SEED, header, row
from benchmarks.gate.traffic import Floats
from modelpack.gate.statistics.alarms import MONTH, level

EACH = 200  # labels, predictions or requests in a window
LOOKS = 50  # in a window
STATED = (0.1, 1.0)  # alarms a month
WINDOWS = (7 * 86400.0, 86400.0)  # seconds
Draw = Callable[[np.random.Generator, int], Floats]
KINDS: dict[str, Draw] = {
    "mae, normal errors": lambda rng, n: np.abs(rng.normal(0.0, 1.0, n)) * math.sqrt(math.pi / 2),
    "mae, exponential errors": lambda rng, n: rng.exponential(1.0, n),
    "mae, log-normal errors, sigma 1.5": lambda rng, n: rng.lognormal(-1.125, 1.5, n),
}
BINS = 10


def sliding(values: Floats) -> Floats:
    """Sums over the last window at each look."""
    step = EACH // LOOKS
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    found: Floats = (total[EACH:] - total[:-EACH])[::step]
    return found


def episodes(above: npt.NDArray[np.bool_], back: npt.NDArray[np.bool_]) -> int:
    """Alarms that begin; one lasts until the value is back within its limit, as the gate has it."""
    state, number = False, 0
    for high, low in zip(above.tolist(), back.tolist(), strict=True):
        number += high and not state
        state = high or (state and not low)
    return number


def mean(values: Floats, limit: float, chance: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Where the mean is surely above the limit, and where it is back: the bound of `signals`."""
    from scipy.special import stdtrit

    middle, squares = sliding(values) / EACH, sliding(values**2)
    error = np.sqrt(np.maximum(squares - EACH * middle**2, 0.0) / (EACH - 1) / EACH)
    return middle + stdtrit(EACH - 1, chance) * error > limit, middle <= limit


def share(values: Floats, limit: float, chance: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    from scipy.special import betaincinv

    bad = sliding(values)
    low = np.where(bad > 0, betaincinv(np.maximum(bad, 1e-9), EACH - bad + 1.0, chance), 0.0)
    return low > limit, bad / EACH <= limit


def drift(values: Floats, limit: float, chance: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Against a reference of ten equal bins, by the stability index; `limit` is what it is on average."""
    from scipy.special import chdtri

    shares = (sliding(values) + 0.5) / (EACH + 0.5 * BINS)
    index = np.sum((shares - 1 / BINS) * np.log(shares * BINS), axis=1)
    return index > float(chdtri(BINS - 1, chance)) / EACH, index <= limit


def alarms(rollouts: int) -> None:
    """Each cell is of `rollouts` windows in a row."""
    header("After the promotion: false alarms a month of a model exactly at its limit, looked at 50 times a window")
    row("signal", *(f"{stated:g} in {window / 86400:g}d" for window in WINDOWS for stated in STATED))
    number = rollouts * EACH
    for name, draw in KINDS.items():
        values = draw(np.random.default_rng(SEED), number)
        row(name, *_cells(lambda chance, values=values: mean(values, 1.0, chance), rollouts))  # type: ignore[misc]
    for limit in (0.1, 0.01):
        values = np.random.default_rng(SEED).binomial(1, limit, number).astype(float)
        judge = lambda chance, values=values, limit=limit: share(values, limit, chance)  # noqa: E731
        row(f"share, limit {100 * limit:g} %", *_cells(judge, rollouts))
    bins = np.eye(BINS)[np.random.default_rng(SEED).integers(0, BINS, number)]
    judge = lambda chance: drift(bins, (BINS - 1) / EACH, chance)  # noqa: E731
    row("drift, ten bins", *_cells(judge, rollouts, freedom=BINS - 1))


def _cells(
    judge: Callable[[float], tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]], windows: int, freedom: int = 0
) -> list[str]:
    found = []
    for window in WINDOWS:
        for stated in STATED:
            number = episodes(*judge(level(stated, window, freedom)))
            found.append(f"{number / (windows * window / MONTH):.3f}")
    return found


def delays(rollouts: int) -> None:
    header("The same, 0.1 a month and a window of 7 days: share of worsenings seen within two windows, and median time")
    row("signal", "10 % worse", "", "25 % worse", "", "50 % worse", "")
    few = max(20, rollouts // 20)
    for name, draw in KINDS.items():
        cells = []
        for factor in (1.1, 1.25, 1.5):
            rng, seen = np.random.default_rng(SEED), []
            for _ in range(few):
                values = np.concatenate([draw(rng, EACH), factor * draw(rng, 2 * EACH)])
                above = mean(values, 1.0, level(0.1, WINDOWS[0]))[0]
                seen.append(float(above.argmax()) / LOOKS * 7 if above.any() else math.inf)
            middle = float(np.median(seen))
            cells += [f"{100 * np.mean(np.isfinite(seen)):.0f} %", f"{middle:.1f} days" if middle < 99 else "later"]
        row(name, *cells)


TABLES = (alarms, delays)
