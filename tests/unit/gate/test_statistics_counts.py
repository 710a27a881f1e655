from __future__ import annotations

import math
from itertools import product
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from modelpack.gate.statistics.counts import Bounds, Counts, compare
from modelpack.gate.statistics.spending import STATES, reach, scales, spent


def look(
    *slices: tuple[float, float, float, float], margin: float = 0.0, alpha: float = 0.05, **given: float
) -> Bounds:
    rows = [Counts(*each, (index + 1) / len(slices)) for index, each in enumerate(slices)]
    found = compare(rows, margin=margin, alpha=alpha, min_sample=1, **given)
    assert found
    return found


@pytest.mark.parametrize("rows", [[], [(0, 0, 100, 1)], [(100, 1, 0, 0)]])
def test_without_requests_of_both_there_is_no_estimate(rows: list[tuple[int, int, int, int]]) -> None:
    assert compare([Counts(*each, 0.5) for each in rows], margin=0, alpha=0.05, min_sample=1) is None


def test_one_look_at_the_end_is_fishers_exact_test() -> None:
    # the look at the end may spend all but the reserve; 12 of 20 is the least that is so unlikely among 50 of 100
    tail = {bad: hypergeom.sf(bad - 1, 100, 20, 50) for bad in range(21)}
    least = min(bad for bad, chance in tail.items() if chance <= 0.05 * 0.95)
    assert look((50, least, 50, 20 - least)).rejected
    assert not look((50, least - 1, 50, 21 - least)).rejected


def tiny() -> st.SearchStrategy[list[tuple[int, int, int]]]:
    return st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 5)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(tiny(), st.sampled_from([0.05, 0.2, 0.5]))
def test_the_chance_of_a_false_rejection_added_up_over_all_outcomes_is_within_alpha(
    shapes: list[tuple[int, int, int]], alpha: float
) -> None:
    shapes = [(canary, primary, min(bad, canary + primary)) for canary, primary, bad in shapes]
    chance = 0.0
    for outcome in product(*(range(bad + 1) for _, _, bad in shapes)):
        rows, likely = [], 1.0
        for (canary, primary, bad), among in zip(shapes, outcome, strict=True):
            likely *= float(hypergeom.pmf(among, canary + primary, bad, canary))
            rows.append((canary, among, primary, bad - among))
        if likely > 0 and look(*rows, alpha=alpha).rejected:
            chance += likely
    assert chance <= alpha


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(20, 90), st.integers(0, 12), st.integers(20, 90), st.integers(0, 12)),
        min_size=1,
        max_size=8,
    ),
    st.data(),
)
def test_a_bad_request_that_moves_to_the_canary_never_helps_it(
    rows: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, len(rows) - 1))
    canary, canary_bad, primary, primary_bad = rows[which]
    if not primary_bad:
        return
    worse = list(rows)
    worse[which] = (canary, canary_bad + 1, primary, primary_bad - 1)
    for margin in (0.0, 0.02):
        before, after = look(*rows, margin=margin), look(*worse, margin=margin)
        assert after.rejected >= before.rejected
        if not after.rejected:
            assert after.estimate > before.estimate


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 90), st.integers(0, 1), st.integers(1, 90), st.integers(0, 1)), min_size=1, max_size=6
    ),
    st.integers(0, 6),
    st.sampled_from([0.0, 0.02]),
)
def test_slices_without_requests_of_both_change_nothing(
    rows: list[tuple[int, int, int, int]], where: int, margin: float
) -> None:
    slices = [Counts(*each, (index + 1) / 8) for index, each in enumerate(rows)]
    where = min(where, len(rows))
    end = slices[where - 1].end if where else 0.0
    empty = [Counts(0, 0, 40, 3, end + 0.05), Counts(40, 3, 0, 0, end + 0.06), Counts(0, 0, 0, 0, end + 0.07)]
    found = compare(slices, margin=margin, alpha=0.05, min_sample=1)
    with_empty = compare([*slices[:where], *empty, *slices[where:]], margin=margin, alpha=0.05, min_sample=1)
    assert with_empty == found


def test_the_interval_is_above_zero_exactly_if_the_canary_is_rejected() -> None:
    seen = set()
    for among in range(30):
        found = look((300, 1, 300, 1), (300, among, 300, 30 - among))
        seen.add(found.rejected)
        assert found.rejected == (found.low > 0)
        assert found.low < found.estimate < found.high
    assert seen == {True, False}


def test_no_errors_at_all_do_not_make_the_interval_narrow() -> None:
    few, many = look((20, 0, 20, 0)), look((2000, 0, 2000, 0))
    assert few.high > 0.1 > 0.005 > many.high > 0.001
    assert few.low < 0 and many.low < 0
    assert few.detectable is not None and many.detectable is not None
    assert few.detectable > many.detectable


def test_an_outage_shared_by_both_does_not_count_against_the_canary() -> None:
    calm, outage = (100, 1, 900, 9), (500, 100, 500, 100)
    totals = tuple(a + b for a, b in zip(calm, outage, strict=True))
    assert look(totals).rejected  # what totals alone would say
    assert look(calm, outage).estimate == pytest.approx(0.0)
    assert not look(calm, outage).rejected


def test_a_rejection_stays_whatever_comes_later() -> None:
    bad, good = (500, 60, 500, 5), (500, 0, 500, 60)
    assert look(bad, good, good).rejected
    assert look(bad, good, good).estimate == pytest.approx(0.11)


def test_acceptance_needs_a_margin_and_the_sample() -> None:
    rows = [Counts(500, 5, 500, 5, each / 10) for each in range(1, 11)]
    assert compare(rows, margin=0.02, alpha=0.05, min_sample=5000).accepted  # type: ignore[union-attr]
    assert not compare(rows, margin=0.02, alpha=0.05, min_sample=5001).accepted  # type: ignore[union-attr]
    assert not compare(rows, margin=0.0, alpha=0.05, min_sample=1).accepted  # type: ignore[union-attr]
    worse = [replace_bad(each, 25) for each in rows]
    found = compare(worse, margin=0.02, alpha=0.05, min_sample=1)
    assert found and found.rejected and not found.accepted and found.low > 0.02


def replace_bad(counts: Counts, bad: float) -> Counts:
    return counts._replace(canary_bad=bad)


def test_counts_that_vary_with_the_users_widen_the_interval() -> None:
    # the same totals, once spread evenly and once in clumps that hit now this version and now that
    even, clumped = [(500, 10, 500, 10)] * 40, [(500, 0, 500, 20), (500, 20, 500, 0)] * 20

    def width(rows: list[tuple[int, int, int, int]], margin: float, overdispersion: float | None) -> float:
        found = look(*rows, margin=margin, overdispersion=overdispersion)
        return found.high - found.low

    for margin in (0.0, 0.02):
        plain = width(even, margin, 1.0)
        assert width(clumped, margin, 1.0) == pytest.approx(plain)
        assert plain < width(even, margin, None) < 1.1 * plain  # Student's t
        assert width(clumped, margin, None) > 2 * plain
        assert width(even, margin, 4.0) == pytest.approx(2 * plain, rel=0.05)


def test_a_canary_that_is_steadily_worse_is_not_taken_for_one_that_varies() -> None:
    assert look(*[(500, 30, 500, 10)] * 40, overdispersion=None).rejected


def test_few_slices_say_little_about_how_much_counts_vary() -> None:
    row = (500, 30, 500, 10)
    assert look(row).rejected
    assert not look(row, overdispersion=None).rejected


def test_what_is_spent_depends_on_time_alone_and_never_passes_alpha() -> None:
    ends = np.array([0.1, 0.25, 0.2, 1.0, 1.0, 4.0, 1e9])
    found = spent(ends, 0.05)
    assert (np.diff(found) >= 0).all()
    assert found[1] == found[2] == pytest.approx(0.05 * 0.95 * 0.5)
    assert found[3] < found[5] < found[6] <= 0.05


def test_a_coarse_lattice_spends_what_the_exact_one_does() -> None:
    # 40 looks at 1,000 coins each: the lattice gets coarser from the second look on
    ends = np.arange(1, 41) / 40
    sizes = np.full(40, 1000.0)
    scale = scales(sizes)
    assert scale[0] == 1 and scale[-1] > 1 and sizes.sum() > STATES
    coins = {s: binom.pmf(np.arange(int(1000 / s) + 1), int(1000 / s), 0.5) for s in {1.0, *scale}}
    exact = reach([coins[1.0]] * 40, np.ones(40), ends, 0.05)
    coarse = reach([coins[s] for s in scale], scale, ends, 0.05)
    assert (np.abs(coarse.above - exact.above) <= np.sqrt(scale)).all()  # one state
    alive, crossed = np.ones(1), 0.0
    for look, above in enumerate(coarse.above):
        alive = np.convolve(alive, coins[1.0])
        lowest = math.ceil(above + 500 * (look + 1))
        crossed, alive = crossed + alive[lowest:].sum(), alive[:lowest]
    assert 0.04 < crossed < 0.05


def test_two_hundred_slices_take_milliseconds() -> None:
    rng = np.random.default_rng(1)
    rows = [Counts(5000, rng.poisson(80), 5000, rng.poisson(80), (k + 1) / 200) for k in range(200)]
    best = math.inf
    for _ in range(5):
        began = perf_counter()
        compare(rows, margin=0.0, alpha=0.05, min_sample=1)
        best = min(best, perf_counter() - began)
    assert best < 0.1  # 0.02 on a machine that does nothing else


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_a_good_canary_is_rarely_rejected_however_often_one_looks_while_the_baseline_drifts(margin: float) -> None:
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(400):
        rows = []
        for step in range(30):
            share = 0.01 + 0.03 * step / 30
            canary = int(rng.binomial(500, (0.1, 0.3, 0.5)[step // 10]))
            bad = rng.binomial(canary, share + margin), rng.binomial(500 - canary, share)
            rows.append(Counts(canary, int(bad[0]), 500 - canary, int(bad[1]), (step + 1) / 30))
        found = compare(rows, margin=margin, alpha=0.05, min_sample=1)
        wrong += bool(found and found.rejected)
    assert wrong <= 30  # 20 expected at most; more than 30 comes once in a hundred


def test_a_slice_without_bad_requests_leaves_the_interval_as_it_is() -> None:
    rows = [(500, 8, 500, 8)] * 6
    before = look(*rows, (500, 0, 500, 0))
    assert before.low > -0.02 and before.detectable is not None and before.detectable < 0.02


def test_what_is_detectable_is_caught_in_about_four_of_five_rollouts() -> None:
    rng = np.random.default_rng(4)
    found = look(*[(400, 8, 400, 8)] * 12)
    assert found.detectable is not None
    caught = 0
    for _ in range(200):
        worse = rng.binomial(400, 0.02 + found.detectable, 12), rng.binomial(400, 0.02, 12)
        caught += look(*[(400, int(a), 400, int(b)) for a, b in zip(*worse, strict=True)]).rejected
    assert 140 <= caught <= 180


def test_the_variance_is_that_of_drawing_without_putting_back() -> None:
    found = look((50, 30, 50, 30))
    assert found.detectable is not None
    # of a slice of 50 and 50 the size is 25; d is detectable where (25 d - above)^2 = z^2 (variance + 12.5 d)
    above = -25 * found.low
    variance = (25 * found.detectable - above) ** 2 / 0.8416**2 - 12.5 * found.detectable
    assert variance == pytest.approx(hypergeom.var(100, 60, 50))


def test_before_anything_could_be_too_much_the_interval_is_what_its_own_spending_allows() -> None:
    early, late = (compare([Counts(1000, 1, 1000, 1, end)], margin=0, alpha=0.05, min_sample=1) for end in (0.01, 1.0))
    assert early and late and early.high > 1.3 * late.high
