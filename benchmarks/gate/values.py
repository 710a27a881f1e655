"""Tables about means, quantiles and distributions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.gate.table import SEED, header, percent, row
from benchmarks.gate.traffic import CLIMB, INTERVALS, SLICES, Floats
from modelpack.gate.statistics import distribution, quantile
from modelpack.gate.statistics.mean import looks

ALPHA = 0.05
CHUNK = 500  # rollouts at a time, for memory
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

KINDS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(1.0, 1.0, shape),
    "0 or 1, 5 %": lambda rng, shape: rng.binomial(1, 0.05, shape).astype(float),
    "exponential": lambda rng, shape: rng.exponential(1.0, shape),
    "log-normal, sigma 1.5": lambda rng, shape: rng.lognormal(0.0, 1.5, shape),
}
LOOKS = INTERVALS * SLICES
WEIGHTS = np.repeat(CLIMB, SLICES)


def _batches(draw: Draw, rollouts: int, requests: int, shift: float, rng: np.random.Generator, late: int = 0) -> Floats:
    """(looks, 6, rollouts, batches): what is known of each batch at each look. The baseline's mean drifts by a standard
    deviation. `late`: each number is known so many slices later on average, geometrically."""
    spread = float(draw(np.random.default_rng(1), (200_000,)).std())
    table = np.zeros((LOOKS, 6, rollouts, LOOKS))
    for batch in range(LOOKS):
        drift = spread * batch / LOOKS
        for offset, number, extra in (
            (0, round(requests * WEIGHTS[batch]), shift * spread),
            (3, round(requests * (1 - WEIGHTS[batch])), 0.0),
        ):
            values = draw(rng, (rollouts, number)) + drift + extra
            delay = rng.geometric(1.0 / (late + 1), values.shape) - 1 if late else np.zeros(values.shape, dtype=int)
            for look in range(batch, LOOKS):
                known = (delay <= look - batch).astype(float)
                table[look, offset, :, batch] = known.sum(axis=1)
                table[look, offset + 1, :, batch] = (known * values).sum(axis=1)
                table[look, offset + 2, :, batch] = (known * values**2).sum(axis=1)
                if not late:
                    table[look:, offset : offset + 3, :, batch] = table[look, offset : offset + 3, :, batch]
                    break
    return table


def means(rollouts: int) -> None:
    header("Means, 48 looks, a baseline that drifts by one standard deviation: rejected at any look, 500 at least")
    row("numbers", "as good", "+0.1 sd", "without squares", "+0.1 sd", "labels late", "+0.1 sd")
    for name, draw in KINDS.items():
        cells = []
        for squares, late in ((True, 0), (False, 0), (True, 8)):
            for shift in (0.0, 0.1):
                rng = np.random.default_rng(SEED)
                found, number = 0, rollouts if shift == 0 else rollouts // 5
                for begin in range(0, number, CHUNK):
                    table = _batches(draw, min(CHUNK, number - begin), 200, shift, rng, late)
                    if not squares:
                        table[:, [2, 5]] = np.nan
                    rejected = np.zeros(table.shape[2], dtype=bool)
                    for look in table:
                        seen = looks(look, alpha=ALPHA, min_sample=500)
                        above = seen.estimate > seen.reach * seen.error
                        rejected |= above & seen.enough & (look[0].sum(axis=-1) >= 500)
                    found += int(rejected.sum())
                cells.append(percent(found / number))
        row(name, *cells)


EDGES = np.array([5, 10, 25, 50, 100, 250, 500, 1000, np.inf])


def quantiles(rollouts: int) -> None:
    header("Quantiles of log-normal times, 12 looks, 500 an interval: canary rejected (margin 0) at any look")
    row("quantile", "as good", "drifting", "10 % slower", "30 % slower", "100 % slower")
    few = rollouts // 20
    for q in (0.5, 0.99):
        cases = ((rollouts, 1.0, 0.0), (rollouts, 1.0, 1.0), (few, 1.1, 0.0), (few, 1.3, 0.0), (few, 2.0, 0.0))
        row(f"{q:g}", *(percent(_slower(q, *case)) for case in cases))


def _slower(q: float, rollouts: int, factor: float, drift: float) -> float:
    rng = np.random.default_rng(SEED)
    found = 0
    for _ in range(rollouts):
        rows: tuple[list[Floats], list[Floats]] = ([], [])
        for step, weight in enumerate(CLIMB):
            scale = np.exp(3.0 + drift * step / INTERVALS)
            for role, (number, slower) in enumerate(((round(500 * weight), factor), (round(500 * (1 - weight)), 1.0))):
                times = np.sort(rng.lognormal(0.0, 0.7, number) * scale * slower)
                rows[role].append(np.searchsorted(times, EDGES, side="right").astype(float))
            one, other = quantile.sides(np.array(rows[0]), np.array(rows[1]))
            below = [float(np.interp(q, each, np.arange(len(EDGES)))) for each, _ in (one, other)]
            if below[0] <= below[1]:
                continue  # the estimate is no higher, and so neither is its lower bound
            if quantile.least(one, other, EDGES, q, alpha=ALPHA, min_sample=500) > 0:
                found += 1
                break
    return found / rollouts


def distributions(rollouts: int) -> None:
    header("Distributions over 10 bins, 48 slices of 100 answers, limit 0: rejected at any look")
    row("statistic", "as good", "inputs drift", "shift 0.1 sd", "shift 0.25 sd", "requests")
    edges = np.linspace(-2, 2, 9)
    # chance is asked by the same test for all but ks
    for name, statistic in (("psi, jensen-shannon, chi-square", "psi"), ("ks", "ks")):
        cells = []
        exposed: list[float] = []
        for shift, drift in ((0.0, 0.0), (0.0, 1.0), (0.1, 0.0), (0.25, 0.0)):
            rng = np.random.default_rng(SEED)
            found, exposed = 0, []
            number = rollouts if shift == 0 else rollouts // 5
            for _ in range(number):
                slices = []
                for batch, weight in enumerate(WEIGHTS):
                    pair = [
                        np.bincount(np.searchsorted(edges, rng.normal(mean, 1.0, n)), minlength=10).astype(float)
                        for mean, n in (
                            (drift * batch / LOOKS + shift, round(100 * weight)),
                            (drift * batch / LOOKS, round(100 * (1 - weight))),
                        )
                    ]
                    slices.append((pair[0].tolist(), pair[1].tolist()))
                seen = distribution.changed(slices, statistic=statistic, limit=0.0, alpha=ALPHA, min_sample=100)
                found += seen.rejected
                if seen.rejected:
                    exposed.append(seen.sample)
            cells.append(percent(found / number))
        row(name, *cells, f"{np.mean(exposed):.0f}")


def limits(rollouts: int) -> None:
    header("One look at ten even bins, limit 0.1, as many answers of either: rejected by what was counted, by the gate")
    row("population stability index", "400: counted", "the gate", "4,000: counted", "the gate")
    for true in (0.0, 0.055, 0.2):
        row(f"{true:g}", *(percent(each) for answers in (400, 4000) for each in _beyond(true, answers, rollouts // 25)))


def _beyond(true: float, answers: int, rollouts: int) -> tuple[float, float]:
    """Shares of rollouts whose psi is beyond the limit and no chance: with what chance adds to it, and without."""
    even = np.full(10, 0.1)
    tilt = np.linspace(-1.0, 1.0, 10)
    # the index rises with the tilt
    low, high = 0.0, 3.0
    for _ in range(50):
        middle = (low + high) / 2
        shares = np.exp(middle * tilt) / np.exp(middle * tilt).sum()
        low, high = (middle, high) if ((shares - even) * np.log(shares / even)).sum() < true else (low, middle)
    shares = np.exp(low * tilt) / np.exp(low * tilt).sum()
    rng = np.random.default_rng(SEED)
    counted = gate = 0
    for _ in range(rollouts):
        one, other = (rng.multinomial(answers, each).astype(float).tolist() for each in (shares, even))
        seen = distribution.changed([(one, other)], statistic="psi", limit=0.1, alpha=ALPHA, min_sample=answers)
        counted += seen.p <= seen.allowed and distribution.psi(one, other) > 0.1
        gate += seen.rejected
    return counted / rollouts, gate / rollouts


TABLES = (means, quantiles, distributions, limits)
