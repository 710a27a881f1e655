"""How often the quality gate is wrong: models that are too much worse and pass, models that are as good and don't.

Simulates evaluations with a fixed seed, through the very function that the training runs use, and its intervals beside
those of a paired BCa bootstrap. Prints two tables.
Run it with: python -m benchmarks.quality [--evaluations 2000] [--intervals 500] [--only f1]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelpack import quality
from modelpack.quality.evaluation import LOWER_IS_BETTER, REGRESSION, Criterion
from modelpack.quality.interval import bounds
from modelpack.quality.metrics import classification, regression

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, float], tuple[Array, Array, Array]]  # truth, candidate's, current model's
SEED = 20261122
LARGE = 1_000_000  # rows that tell a metric's true value: to 0.5 % of a margin
RESAMPLES = 1000
SEGMENTS = 8


@dataclass(frozen=True)
class Case:
    """`draw` is given rows and how much larger the candidate's mistakes are than the current model's."""

    name: str
    draw: Draw
    criteria: tuple[Criterion, ...]
    segments: bool = False


def numbers(tail: float) -> Draw:
    """Errors of two related models; `tail` is the degrees of freedom of Student's t: the fewer, the more outliers."""

    def draw(random: np.random.Generator, n: int, step: float) -> tuple[Array, Array, Array]:
        truth, shared = random.normal(23, 7, n), random.standard_t(tail, n)
        old = 2 * (shared + 0.4 * random.normal(size=n))
        return truth, truth + 2 * (1 + step) * (shared + 0.4 * random.normal(size=n)), truth + old

    return draw


def classes(count: int, wrong: float) -> Draw:
    """Two classifiers that share half of their mistakes."""

    def draw(random: np.random.Generator, n: int, step: float) -> tuple[Array, Array, Array]:
        truth = random.integers(0, count, n)
        slip, shared = random.integers(1, count, n), random.random(n) < wrong / 2

        def answers(share: float) -> Array:
            return np.where(shared | (random.random(n) < share), (truth + slip) % count, truth).astype(float)

        return truth.astype(float), answers(wrong / 2 + step), answers(wrong / 2)

    return draw


CASES = (
    Case("mae", numbers(30), (Criterion("mae", 0.2),)),
    Case("mae, heavy tails", numbers(4), (Criterion("mae", 0.2),)),
    Case("rmse", numbers(30), (Criterion("rmse", 0.3),)),
    Case("rmse, heavy tails", numbers(5), (Criterion("rmse", 0.3),)),
    Case("r2", numbers(30), (Criterion("r2", 0.02),)),
    Case("mae, rmse, 8 segments", numbers(30), (Criterion("mae", 0.2), Criterion("rmse", 0.3)), segments=True),
    Case("accuracy, 3 classes", classes(3, 0.1), (Criterion("accuracy", 0.04),)),
    Case("f1, 10 classes", classes(10, 0.06), (Criterion("f1", 0.04),)),
    Case("precision, recall of 10", classes(10, 0.06), (Criterion("precision", 0.04), Criterion("recall", 0.04))),
)
ROWS = (80, 300, 1000)


def worsening(metric: str, truth: Array, new: Array, old: Array) -> float:
    """How much worse the candidate is on these rows."""
    values = []
    for given in (new, old):
        if metric in REGRESSION:
            estimate = regression(metric, truth, given)
        else:
            codes, count = truth.astype(np.int64), int(truth.max()) + 1
            even = np.full(count, 1 / count)
            estimate = classification(metric, codes, given.astype(np.int64), np.ones(len(truth)), even)
        assert estimate is not None
        values.append(estimate.value)
    return (values[0] - values[1]) * (1 if metric in LOWER_IS_BETTER else -1)


def step_for(case: Case, times: float) -> float:
    """The step at which the metric nearest to its margin is worse by that many margins, by false position."""
    step = 0.1
    for _ in range(3):  # it is as good as straight
        drawn = case.draw(np.random.default_rng(SEED), LARGE, step)
        slope = max(worsening(each.metric, *drawn) / each.margin for each in case.criteria) / step
        step = times / slope
    return step


def simulate(case: Case, rows: int, step: float, evaluations: int, seed: int) -> tuple[int, int]:
    """How many pass, and how many are stopped by a group alone."""
    random = np.random.default_rng(seed)
    passed = stopped = 0
    for _ in range(evaluations):
        truth, new, old = case.draw(random, rows, step)
        table = pd.DataFrame({"y": truth, "part": random.integers(0, SEGMENTS, rows)})
        found = quality.evaluate(
            quality.Sample(table, new.tolist(), old.tolist()),
            "y",
            case.criteria,
            segments=("part",) if case.segments else (),
        )
        passed += found.passed
        overall = any(row.verdict == "fail" for row in found.rows if not row.group)
        stopped += not found.passed and not overall
    return passed, stopped


def line(place: int, rows: int, steps: tuple[float, ...], evaluations: int) -> str:
    """A row of the table: shares of 1.0 as percent, with the Monte Carlo error of the false passes, which are what is
    promised: of the other two a quarter of the evaluations tells enough."""
    case, cells = CASES[place], []
    veto = 0.0
    for number, step in enumerate(steps):
        count = evaluations if number == 1 else max(1, evaluations // 4)
        passed, stopped = simulate(case, rows, step, count, SEED + 1000 * place + 10 * rows + number)
        share = passed / count
        cells.append(share if step else 1 - share)
        veto = veto if step else stopped / count
    fail, edge, twice = cells
    error = math.sqrt(edge * (1 - edge) / evaluations)
    return f"{case.name:24s}  {rows:4d}  {edge:8.2%} ± {2 * error:.2%}  {twice:11.2%}  {fail:10.2%}  {veto:9.2%}"


def missed(tail: float, metric: str, rows: int, evaluations: int) -> str:
    """How often the interval's upper and lower bound miss, ours and that of a bootstrap."""
    from scipy import stats

    draw, random = numbers(tail), np.random.default_rng(SEED)
    true = worsening(metric, *draw(random, LARGE, 0.3))
    counts = np.zeros((2, 2))
    seconds = [0.0, 0.0]

    def statistic(new: Array, old: Array, axis: int) -> Array:
        if metric == "mae":
            return np.abs(new).mean(axis=axis) - np.abs(old).mean(axis=axis)
        return np.sqrt((new**2).mean(axis=axis)) - np.sqrt((old**2).mean(axis=axis))

    for _ in range(evaluations):
        truth, new, old = draw(random, rows, 0.3)
        start = time.perf_counter()
        after, before = regression(metric, truth, new), regression(metric, truth, old)
        assert after is not None and before is not None
        ours = bounds(after.value - before.value, after.influence - before.influence, np.ones(rows), 0.95)
        middle = time.perf_counter()
        found = stats.bootstrap(
            (new - truth, old - truth), statistic, paired=True, n_resamples=RESAMPLES, vectorized=True, rng=random
        ).confidence_interval
        seconds[0], seconds[1] = seconds[0] + middle - start, seconds[1] + time.perf_counter() - middle
        for place, (low, high) in enumerate((ours, (found.low, found.high))):
            counts[place] += (high < true, low > true)
    (up, down), (b_up, b_down) = counts / evaluations
    cost = [each / evaluations * 1000 for each in seconds]
    name = f"{metric}, {'heavy' if tail < 10 else 'light'} tails"
    ours_told = f"{up:6.1%} {down:6.1%}  {cost[0]:6.2f} ms"
    return f"{name:18s}  {rows:4d}  {ours_told}   {b_up:6.1%} {b_down:6.1%}  {cost[1]:6.1f} ms"


def compare_intervals(intervals: int) -> None:
    print(f"\nThe bounds of {intervals} intervals that miss, upper and lower, 2.5 % each are meant")
    print(f"{'':18s}  rows  these, each           BCa bootstrap, {RESAMPLES} resamples")
    for metric in ("mae", "rmse"):
        for tail in (30.0, 5.0):
            for rows in (20, 80, 300):
                print(missed(tail, metric, rows, intervals), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=2_000)
    parser.add_argument("--intervals", type=int, default=500)
    parser.add_argument("--only", default="", metavar="TEXT", help="the cases whose name has it")
    args = parser.parse_args()
    start = time.monotonic()
    print(f"{args.evaluations} evaluations a cell, 95 % intervals, seed {SEED}; a false pass is to be at most 2.5 %")
    print(f"{'':24s}  rows  passes though worse by  passes, twice  as good, is  of these by")
    print(f"{'':24s}        just the margin         the margin     stopped     a group alone")
    for place, case in enumerate(CASES):
        if args.only in case.name:
            steps = (0.0, step_for(case, 1.0), step_for(case, 2.0))
            for rows in ROWS:
                print(line(place, rows, steps, args.evaluations), flush=True)
    if args.intervals:
        compare_intervals(args.intervals)
    print(f"\n{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
