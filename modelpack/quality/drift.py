"""How far a table's columns are from those of the table before, and whether that can be chance.

Two questions, since either alone misleads: with many rows a test finds differences that do not matter, with few rows
the index is large by chance. A column has drifted if both say so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelpack.quality.answers import number, odd_ones
from modelpack.quality.split import labels

if TYPE_CHECKING:
    from pandas import DataFrame, Series

BINS = 10
_FEW = 20  # distinct numbers up to which each counts by itself, if it comes often enough
_LARGEST = 20  # categories that count by themselves, the rest is one
_EXPECTED = 5.0  # rows below which a category's chi-square is no good approximation: Cochran 1954


@dataclass(frozen=True)
class Shift:
    """One column. `psi` is the population stability index; `p` the probability of such a difference by chance;
    `test` is "KS" or "chi-square"; `drifted` if both are beyond their bounds."""

    column: str
    psi: float
    p: float
    test: str
    drifted: bool


def drift(
    table: DataFrame,
    previous: DataFrame,
    limits: Mapping[str, float],
    alarms: float,
    categories: Collection[str] = (),
) -> tuple[Shift, ...]:
    """The columns of `limits`, each with the PSI that it may have; `categories` are compared by value whatever is in
    them, as are columns of texts. A few texts in a column of numbers count as missing.

    Over many columns some test is always unlucky: p is held against `alarms` by Holm's method (Holm, A simple
    sequentially rejective multiple test procedure, 1979), so that of all tables without a drift, at most that share has
    any column accused. The tables are taken as they are: one that contains the other dilutes what is new in it.
    """
    found = [_shift(each, table[each], previous[each], each not in categories) for each in limits]
    accused = _holm([p for _, p, _ in found], alarms)
    return tuple(
        Shift(column, psi, p, test, beyond and psi > limit)
        for (column, limit), (psi, p, test), beyond in zip(limits.items(), found, accused, strict=True)
    )


def psi(before: list[float], now: list[float]) -> float:
    """The population stability index of two lists of counts: sum of (q - p) * ln(q / p) over their shares (Siddiqi,
    Credit Risk Scorecards, 2006: below 0.1 little, above 0.25 a large change). Half a row is added to each count, which
    keeps it finite where one is empty."""
    p = [each + 0.5 for each in before]
    q = [each + 0.5 for each in now]
    total_p, total_q = sum(p), sum(q)
    return sum((b / total_q - a / total_p) * math.log((b / total_q) / (a / total_p)) for a, b in zip(p, q, strict=True))


def _holm(values: list[float], alarms: float) -> list[bool]:
    accused = [False] * len(values)
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        if values[index] > alarms / (len(values) - rank):
            break
        accused[index] = True
    return accused


def _numbers(column: Series) -> Series | None:
    """A column of numbers, None for any other. One word in a CSV file makes texts of all numbers beside it: a few words
    count as missing."""
    import pandas
    from pandas.api import types

    if types.is_numeric_dtype(column) and not types.is_bool_dtype(column):
        return column
    given = labels(column)
    return pandas.Series([number(each) for each in given], dtype=float) if odd_ones(given) else None


def _shift(column: str, now: Series, before: Series, numeric: bool) -> tuple[float, float, str]:
    import numpy
    from scipy import stats

    new_numbers, old_numbers = (_numbers(each) if numeric else None for each in (now, before))
    few = old_numbers is not None and old_numbers.nunique() <= min(_FEW, old_numbers.count() / _EXPECTED)
    if new_numbers is None or old_numbers is None or few:
        counts = _categories(now, before)
        return psi(*counts), _chi_square(*counts), "chi-square"
    now, before = new_numbers, old_numbers
    missing = [float(each.isna().sum()) for each in (before, now)]
    old, new = (each.dropna().to_numpy(dtype=float) for each in (before, now))
    edges = numpy.unique(numpy.quantile(old, numpy.arange(1, BINS) / BINS))
    bins = [numpy.bincount(numpy.searchsorted(edges, each), minlength=len(edges) + 1) for each in (old, new)]
    index = psi([*map(float, bins[0]), missing[0]], [*map(float, bins[1]), missing[1]])
    # Kolmogorov 1933, Smirnov 1939; beside it the missing values, so Bonferroni's two
    p = float(stats.ks_2samp(old, new, method="asymp").pvalue) if len(new) else 0.0
    gone = _chi_square([missing[0], float(len(old))], [missing[1], float(len(new))])
    return index, min(1.0, 2 * min(p, gone)), "KS"


def _categories(now: Series, before: Series) -> tuple[list[float], list[float]]:
    """Counts before and now of the largest categories before, of those that were not there, the other and missing."""
    old, new = (Counter(labels(each.dropna())) for each in (before, now))
    ordered = [each for each, _ in old.most_common()]
    named, rest = ordered[:_LARGEST], set(ordered[_LARGEST:])

    def counts(column: Series, found: Counter[str]) -> list[float]:
        own = [float(found[each]) for each in named]
        other = float(sum(count for each, count in found.items() if each in rest))
        return [*own, other, float(sum(found.values())) - sum(own) - other, float(column.isna().sum())]

    return counts(before, old), counts(now, new)


def _chi_square(before: list[float], now: list[float]) -> float:
    """The p-value of Pearson's chi-square test of homogeneity (1900), small categories taken together."""
    from scipy import stats

    total = sum(before) + sum(now)
    if not total:
        return 1.0
    share = min(sum(before), sum(now)) / total
    pairs = sorted(zip(before, now, strict=True), key=sum)
    groups: list[tuple[float, float]] = []
    small = (0.0, 0.0)
    for a, b in pairs:
        if (a + b) * share >= _EXPECTED:
            groups.append((a, b))
        else:
            small = (small[0] + a, small[1] + b)
    if sum(small):
        groups.append(small)
    if len(groups) < 2 or not sum(before) or not sum(now):
        return 1.0
    return float(stats.chi2_contingency([list(each) for each in zip(*groups, strict=True)], correction=False).pvalue)
