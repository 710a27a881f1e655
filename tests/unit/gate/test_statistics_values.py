from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modelpack.gate.statistics import distribution, mean, quantile
from modelpack.gate.statistics.counts import Bounds
from modelpack.gate.statistics.quantile import Buckets
from modelpack.gate.statistics.share import evidence, share

EDGES = (1.0, 2.0, 4.0, 8.0, 16.0)


@pytest.mark.parametrize(
    ("bad", "total", "inside", "outside"),
    [(0, 1000, 0.001, 0.01), (10, 1000, 0.01, 0.05), (1000, 1000, 0.999, 0.9), (300, 1000, 0.3, 0.4)],
)
def test_a_share_lies_in_its_interval(bad: int, total: int, inside: float, outside: float) -> None:
    low, high = share(bad, total, 0.05)
    assert low <= inside <= high
    assert not low <= outside <= high


def test_a_share_of_nothing_can_be_anything() -> None:
    assert share(0, 0, 0.05) == (0.0, 1.0)
    assert share(0, 1, 0.05)[1] > 0.9
    assert share(1, 1, 0.05)[0] < 0.1


@given(st.integers(1, 500), st.data())
def test_a_shares_bounds_are_where_the_evidence_is_enough(total: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, total))
    low, high = share(bad, total, 0.05)
    assert 0.0 <= low <= bad / total <= high <= 1.0
    assert share(bad, total, 0.01)[0] <= low
    assert share(bad, total, 0.01)[1] >= high


def test_evidence_is_an_average_of_likelihood_ratios() -> None:
    # by a sum over 200,000 shares above the bound, weighted with the Beta(2, 8) that is cut off there
    p = 0.2 + 0.8 * (np.arange(200_000) + 0.5) / 200_000
    weights = p * (1 - p) ** 7
    ratios = (p / 0.2) ** 7 * ((1 - p) / 0.8) ** 13
    assert float(evidence(7.0, 20.0, 0.2, 10.0)) == pytest.approx(math.log(float(ratios @ weights / weights.sum())))


def test_evidence_never_grows_on_average() -> None:
    for total in (0.0, 5.0, 50.0):
        bad = np.arange(total + 1)
        now, good, worse = (
            np.exp(evidence(*each, 0.3, 10.0)) for each in ((bad, total), (bad, total + 1), (bad + 1, total + 1))
        )
        assert 0.7 * good + 0.3 * worse == pytest.approx(now)


def batch(canary: list[float], primary: list[float]) -> mean.Batch:
    return mean.Batch(*(f(each) for each in (canary, primary) for f in (len, sum, lambda v: sum(x * x for x in v))))


def judged(many: list[mean.Batch], **given: float | None) -> Bounds:
    found = mean.compare(many, **{"margin": 0.5, "alpha": 0.05, "min_sample": 100, **given})  # type: ignore[arg-type]
    assert found
    return found


def drawn(extra: float, batches: int = 40, seed: int = 3) -> list[mean.Batch]:
    rng = np.random.default_rng(seed)
    return [
        batch(list(rng.normal(k + extra, 1.0, 30)), list(rng.normal(k, 1.0, 60))) for k in range(batches)
    ]  # the baseline rises by 1 from batch to batch


@pytest.mark.parametrize(
    ("extra", "rejected", "accepted"), [(0.0, False, True), (0.5, False, False), (1.0, True, False)]
)
@pytest.mark.parametrize("squares", [True, False])
def test_a_mean_is_accepted_below_the_margin_and_rejected_above_it(
    extra: float, rejected: bool, accepted: bool, squares: bool
) -> None:
    many = drawn(extra)
    if not squares:
        many = [each._replace(canary_squares=math.nan, primary_squares=math.nan) for each in many]
    found = judged(many)
    assert (found.rejected, found.accepted) == (rejected, accepted)
    assert found.low < extra < found.high
    assert found.estimate == pytest.approx(found.canary - found.primary)


def test_means_are_compared_only_within_batches() -> None:
    # canary mostly late, when both are high: the plain means differ by 0.8
    early, late = batch([0.0, 1.0] * 10, [0.0, 1.0] * 90), batch([1.0, 2.0] * 90, [1.0, 2.0] * 10)
    assert judged([early, late]).estimate == pytest.approx(0.0)


def test_batches_count_by_how_much_they_can_tell() -> None:
    # both tell as much as 7.5 numbers of each version; only the first one's canary is higher, by 1
    found = judged([batch([2.0] * 10, [1.0] * 30), batch([1.0] * 30, [1.0] * 10)])
    assert found.estimate == pytest.approx(0.5)


def test_few_batches_need_students_t() -> None:
    table = np.array(drawn(0.0, batches=25)).T
    plain, asked = (mean.looks(table, alpha=0.05, min_sample=100, overdispersion=each) for each in (1.0, None))
    assert asked.reach == pytest.approx(stats.t.isf(stats.norm.sf(plain.reach), 24))


def test_too_few_numbers_say_nothing() -> None:
    assert mean.compare([], margin=0, alpha=0.05, min_sample=1) is None
    assert mean.compare([batch([1.0] * 19, [1.0] * 90)], margin=0, alpha=0.05, min_sample=1) is None
    few = [each._replace(canary_squares=math.nan) for each in drawn(0.0, batches=mean.FEWEST - 1)]
    assert mean.compare(few, margin=0, alpha=0.05, min_sample=1) is None


def test_numbers_that_are_all_alike_do_not_make_the_interval_narrow_if_their_span_is_known() -> None:
    same = [batch([0.0] * 30, [0.0] * 30)]
    assert judged(same).high == 0.0
    assert judged(same, span=1.0).high > 0.1


def test_users_who_stay_with_one_version_widen_the_interval_of_a_mean() -> None:
    rng = np.random.default_rng(5)
    many = [
        batch([shift + x for x in rng.normal(0, 0.1, 30)], list(rng.normal(0, 0.1, 30)))
        for shift in rng.normal(0, 1, 40)
    ]
    plain, asked = judged(many), judged(many, overdispersion=None)
    assert asked.high - asked.low > 5 * (plain.high - plain.low)
    assert judged(many, overdispersion=4.0).high - plain.estimate == pytest.approx(2 * (plain.high - plain.estimate))


def test_single_numbers_are_put_together_by_time() -> None:
    found = mean.batches([(1.0, 0.0), (3.0, 0.01), (5.0, 0.5)], [(2.0, 0.0), (7.0, 1.2)])
    assert found == [
        mean.Batch(2, 4.0, 10.0, 1, 2.0, 4.0),
        mean.Batch(1, 5.0, 25.0, 0, 0.0, 0.0),
        mean.Batch(0, 0.0, 0.0, 1, 7.0, 49.0),
    ]


def histogram(values: list[float]) -> dict[str, float]:
    return {**{f"{edge:g}": float(sum(v <= edge for v in values)) for edge in EDGES}, "+Inf": float(len(values))}


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ({"1": 0, "2": 10, "+Inf": 10}, 0.5, 1.5),
        ({"1": 5, "2": 10, "+Inf": 10}, 0.25, 0.5),
        ({"2": 10, "1": 5, "+Inf": 10}, 0.75, 1.5),
        ({"1": 5, "2": 8, "+Inf": 10}, 0.99, 2.0),  # beyond the highest finite bound
        ({"-1": 5, "2": 10, "+Inf": 10}, 0.25, -1.0),  # the first bucket has no lower end
        ({"1": 0, "+Inf": 0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_quantiles_of_buckets_are_those_of_prometheus(
    buckets: dict[str, float], q: float, expected: float | None
) -> None:
    found = quantile.quantile(buckets, q)
    assert found == (None if expected is None else pytest.approx(expected))


def slices(factor: float, number: int = 30, each: int = 100) -> list[Buckets]:
    rng = np.random.default_rng(11)
    return [
        Buckets(histogram(list(factor * rng.exponential(2.0, each))), histogram(list(rng.exponential(2.0, 2 * each))))
        for _ in range(number)
    ]


@pytest.mark.parametrize("q", [0.5, 0.9])
@pytest.mark.parametrize(("factor", "rejected", "accepted"), [(1.0, False, True), (2.5, True, False)])
def test_a_slower_quantile_is_rejected_and_an_equal_one_accepted(
    q: float, factor: float, rejected: bool, accepted: bool
) -> None:
    found = quantile.compare(slices(factor), q, margin=1.0, alpha=0.05, min_sample=500)
    assert found and (found.rejected, found.accepted) == (rejected, accepted)
    assert found.low < found.estimate < found.high


def test_a_quantile_is_accepted_once_enough_was_seen() -> None:
    found = [quantile.compare(slices(1.0), 0.5, margin=1.0, alpha=0.05, min_sample=each) for each in (3000, 3001)]
    assert [each.accepted for each in found if each] == [True, False]


def test_few_answers_cannot_bound_a_high_quantile() -> None:
    found = quantile.compare(slices(1.0, 1, 30), 0.99, margin=1.0, alpha=0.05, min_sample=500)
    assert found and found.high == math.inf and found.low == -math.inf and not found.accepted
    assert quantile.compare([Buckets({"1": 3, "+Inf": 3}, {})], 0.5, margin=1, alpha=0.05, min_sample=1) is None
    assert quantile.compare([], 0.5, margin=1, alpha=0.05, min_sample=1) is None


def test_quantiles_are_compared_at_the_same_times() -> None:
    quick, slow = histogram([0.5] * 90), histogram([12.0] * 90)
    few = {name: {k: v / 9 for k, v in each.items()} for name, each in (("quick", quick), ("slow", slow))}
    found = quantile.compare(
        [Buckets(few["quick"], quick), Buckets(slow, few["slow"])], 0.5, margin=1, alpha=0.05, min_sample=1
    )
    assert found and found.estimate == pytest.approx(0.0)


def test_the_interval_of_one_quantile_holds_it() -> None:
    many = [each.primary for each in slices(1.0)]
    found = quantile.interval(many, 0.9, 0.05, min_sample=500)
    assert found
    estimate, low, high = found
    # of the exponential distribution, read off between 4 and 8
    below, above = 1 - math.exp(-2), 1 - math.exp(-4)
    assert low < estimate < high and low < 4 + 4 * (0.9 - below) / (above - below) < high
    assert quantile.interval([], 0.9, 0.05, min_sample=1) is None


Pair = tuple[list[float], list[float]]

EVEN = [0.1] * 10
LITTLE, MUCH = ([0.1 + step] * 5 + [0.1 - step] * 5 for step in (0.023237, 0.043227))  # psi 0.055 and 0.2 beside even


@pytest.mark.parametrize("name", distribution.STATISTICS)
def test_distances_are_zero_for_equal_shares_and_symmetric(name: str) -> None:
    measure: Callable[..., float] = distribution.STATISTICS[name]
    assert measure([100, 200, 700], [1000, 2000, 7000]) == pytest.approx(0.0, abs=1e-4)
    assert measure([300, 200, 500], [100, 200, 700]) == pytest.approx(measure([100, 200, 700], [300, 200, 500]))


@pytest.mark.parametrize(
    ("measure", "expected"),
    [(distribution.jensen_shannon, 1.0), (distribution.ks, 1.0), (distribution.chi_square, 1.0)],
)
def test_distances_of_shares_that_have_nothing_in_common(measure: Callable[..., float], expected: float) -> None:
    assert measure([10, 0], [0, 10]) == pytest.approx(expected)


def stream(shift: float, number: int = 48, seed: int = 2, drift: float = 0.0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    bins = np.linspace(-2, 2, 9)

    def counts(middle: float, answers: int) -> list[float]:
        found: list[float] = np.bincount(np.searchsorted(bins, rng.normal(middle, 1, answers)), minlength=10).tolist()
        return found

    return [(counts(drift * k / number + shift, 20 + k), counts(drift * k / number, 120 - k)) for k in range(number)]


def changed(many: list[Pair], statistic: str = "psi", limit: float = 0.05, **given: bool) -> distribution.Change:
    return distribution.changed(many, statistic=statistic, limit=limit, alpha=0.05, min_sample=100, **given)


@pytest.mark.parametrize("name", distribution.STATISTICS)
def test_a_shift_is_rejected_and_inputs_that_change_for_both_are_not(name: str) -> None:
    assert changed(stream(1.0), name).rejected
    assert not changed(stream(0.0, drift=3.0), name, limit=0.0).rejected


def test_what_is_no_chance_but_below_the_limit_is_not_rejected() -> None:
    assert changed(stream(0.3), limit=0.0).rejected
    assert not changed(stream(0.3), limit=0.5).rejected


@pytest.mark.parametrize("name", ["psi", "jensen-shannon"])
@pytest.mark.parametrize(("parts", "reference"), [(1, False), (4, False), (1, True)])
def test_a_distance_is_without_what_chance_adds(name: str, parts: int, reference: bool) -> None:
    rng = np.random.default_rng(3)
    shares = np.linspace(1, 2, 10) / 15
    truth = distribution.STATISTICS[name]((1e9 * shares).tolist(), [1e8] * 10)
    counted, found = [], []
    for _ in range(400):
        slices: list[Pair] = []
        for part in range(parts):  # of other sizes, as when weights climb
            one, other = rng.multinomial(320 * (part + 2) // parts, shares), rng.multinomial(1600 // parts, EVEN)
            slices.append((one.tolist(), other.tolist()))
        sums = [np.sum([pair[role] for pair in slices], axis=0).tolist() for role in (0, 1)]
        counted.append(distribution.STATISTICS[name](sums[0], sums[1]))
        found.append(changed(slices, name, limit=10.0, reference=reference).value)
    assert np.mean(counted) > 1.2 * truth
    assert np.mean(found) == pytest.approx(truth, rel=0.06)
    assert changed([([20.0] * 10, [40.0] * 10)], name).value == 0.0


@pytest.mark.parametrize(
    ("shares", "answers", "by_what_was_counted", "by_the_gate"),
    # shares of 400 canaries that a limit of 0.1 rejects, whose true psi is 0, 0.055 or 0.2
    [
        (EVEN, 400, 0.02, 0.0),
        (EVEN, 4000, 0.0, 0.0),
        (LITTLE, 400, 0.45, 0.13),
        (LITTLE, 4000, 0.0, 0.0),
        (MUCH, 400, 0.99, 0.95),
        (MUCH, 4000, 1.0, 1.0),
    ],
)
def test_a_canary_within_the_limit_is_seldom_rejected_for_what_chance_adds(
    shares: Sequence[float], answers: int, by_what_was_counted: float, by_the_gate: float
) -> None:
    rng = np.random.default_rng(7)
    counted = gate = 0
    for _ in range(400):
        one, other = (rng.multinomial(answers, each).astype(float).tolist() for each in (shares, EVEN))
        seen = distribution.changed([(one, other)], statistic="psi", limit=0.1, alpha=0.05, min_sample=answers)
        counted += seen.p <= seen.allowed and distribution.psi(one, other) > 0.1
        gate += seen.rejected
    assert counted / 400 == pytest.approx(by_what_was_counted, abs=0.06)
    assert gate / 400 == pytest.approx(by_the_gate, abs=0.04)


def test_looks_are_taken_when_the_sample_has_doubled_and_pay_for_themselves() -> None:
    even = [([10.0, 10.0], [10.0, 10.0])] * 4  # 80 of each
    assert not changed(even).enough and changed(even).allowed == 0.0
    allowed = [changed(even * k).allowed for k in (2, 3, 4, 8)]
    assert allowed == pytest.approx([0.05 / 2, 0.05 / 6, 0.05 / 6, 0.05 / 12])
    assert (
        changed([([900.0, 900.0], [900.0, 900.0])]).allowed == 0.05 / 30
    )  # passed 100, 200, 400, 800 and 1600 at once


def test_a_reference_is_one_sample_and_not_one_a_slice() -> None:
    reference = [100.0, 100.0]
    many = [([30.0, 20.0], reference)] * 4  # in the end 120 and 80, against 100 and 100
    assert not changed(many, limit=0.0, reference=True).rejected
    assert changed(many, limit=0.0, reference=True).p == pytest.approx(0.0447, abs=0.0001)


def test_nothing_seen_is_no_change() -> None:
    assert changed([]) == distribution.Change(0.0, 1.0, 0.0, False, False, 0.0)
    assert not changed([([0.0, 0.0], [5.0, 5.0])]).rejected
