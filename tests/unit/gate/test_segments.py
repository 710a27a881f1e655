from __future__ import annotations

from dataclasses import replace

import pytest

from modelpack.errors import InputError
from modelpack.gate.checks.check import Need, Slice, Window
from modelpack.gate.checks.proportion import Proportion
from modelpack.gate.checks.segments import OTHERS, Segments, split
from tests.fakes.live import parsed, traffic

LINES = """name: errors
total: requests
bad: errors
margin: MARGIN
min_sample: 500
segments: {label: region, values: [eu, us]}
"""

Counts = tuple[int, int, int, int]
GOOD, BAD, FEW, WIDE = (4000, 40, 36000, 360), (800, 80, 7200, 72), (40, 0, 360, 4), (600, 14, 5400, 54)


def check(margin: float, segments: str = "{label: region, values: [eu, us]}") -> Proportion:
    lines = LINES.replace("MARGIN", str(margin)).replace("{label: region, values: [eu, us]}", segments)
    found: Proportion = parsed(Proportion, lines)
    return found


def slices(counts: Counts, until: float = 0.5) -> tuple[Slice, ...]:
    canary, canary_bad, primary, primary_bad = counts
    return traffic({"total": canary, "bad": canary_bad}, {"total": primary, "bad": primary_bad}, until=until)


def window(elapsed: float = 0.5, **segments: Counts) -> Window:
    """All traffic is what the segments have together."""
    whole = [sum(column) for column in zip(*segments.values(), strict=True)]
    of = {"": slices((whole[0], whole[1], whole[2], whole[3]), elapsed)}
    return Window(slices={**of, **{name: slices(each, elapsed) for name, each in segments.items()}}, elapsed=elapsed)


@pytest.mark.parametrize(
    ("margin", "seen", "verdict", "says"),
    [
        (0.02, window(eu=GOOD, us=GOOD), "accept", "no worse than allowed: 1 % of 8,000 requests"),
        (
            0.02,
            window(eu=GOOD, us=BAD),
            "reject",
            "the canary has more bad requests where region is us: 10 % of ",
        ),
        (0.0, window(1.0, eu=GOOD, us=BAD), "reject", "where region is us"),
        # one with little data decides nothing by itself, but is named
        (0.02, window(eu=GOOD, us=FEW), "accept", "; too few requests to tell where region is us (40)"),
        (0.0, window(1.0, eu=GOOD, us=FEW), "accept", "; too few requests to tell where region is us (40)"),
        (0.02, window(eu=GOOD), "accept", "; too few requests to tell where region is us (0)"),
        # one with data has to show it, for as long as there is time
        (0.02, window(eu=GOOD, us=WIDE), "undecided", "; not shown yet where region is us"),
        (0.02, window(1.0, eu=GOOD, us=WIDE), "accept", "; not shown by itself where region is us"),
    ],
)
def test_segments_reject_and_delay(margin: float, seen: Window, verdict: str, says: str) -> None:
    found = check(margin).evaluate(seen)
    assert found.verdict == verdict and says in found.reason


def test_without_a_margin_nothing_is_to_be_shown_of_a_segment() -> None:
    found = check(0.0).evaluate(window(1.0, eu=GOOD, us=GOOD))
    assert found.verdict == "accept" and found.reason.endswith("would have been found in 8 of 10 rollouts")


def test_a_good_whole_does_not_hide_a_bad_segment() -> None:
    seen = window(1.0, eu=(4000, 0, 36000, 720), us=BAD)
    whole = replace(seen, slices={"": seen.all})
    assert check(0.0).evaluate(whole).verdict == "accept"
    found = check(0.0).evaluate(seen)
    assert found.verdict == "reject" and found.reason.count("where region is") == 1


def test_all_that_are_worse_are_named() -> None:
    found = check(0.02).evaluate(window(eu=BAD, us=BAD))
    assert all(each in found.reason for each in ("where region is eu: 10 % of ", "where region is us: 10 % of "))


def test_of_many_the_first_are_named() -> None:
    bad = {f"r{n}": BAD for n in range(8)}
    found = check(0.02, "{label: region, most: 8}").evaluate(window(**bad))
    assert found.reason.count(" where region is r") == 5 and found.reason.endswith("; and 3 more")


def test_a_value_that_cannot_be_shown_is_one_of_the_others() -> None:
    strange = {name: slices(GOOD) for name in ("eu", "x" * 64, "a\nb", "")}
    assert Segments("region", most=3).names(strange) == ("eu", OTHERS)
    assert len(Segments("region", most=3).pick(strange)[OTHERS]) == 10


def test_each_segment_is_a_row() -> None:
    found = check(0.02).evaluate(window(eu=GOOD, us=BAD))
    assert [(each.name, each.verdict) for each in found.parts] == [("eu", "accept"), ("us", "reject")]
    assert (found.parts[0].n, found.parts[0].n_primary) == (4000, 36000)
    assert found.parts[1].low is not None and found.parts[1].low > 0.02
    empty = check(0.02).evaluate(window(eu=GOOD)).parts[1]
    assert (empty.name, empty.verdict, empty.n, empty.estimate) == ("us", "undecided", 0, None)


def test_a_segment_may_have_its_own_margin_and_sample() -> None:
    loose = check(0.02, "{label: region, values: [eu, us], margin: 0.3, min_sample: 30}")
    assert [each.verdict for each in loose.evaluate(window(eu=GOOD, us=BAD)).parts] == ["accept", "accept"]
    some = window(eu=GOOD, us=(300, 3, 2700, 27))
    assert loose.evaluate(some).parts[1].verdict == "accept"
    assert check(0.02).evaluate(some).parts[1].verdict == "undecided"


def test_alpha_is_shared_by_all_that_were_declared() -> None:
    assert split(None, 0.04) == (0.04, 0.0)
    assert split(Segments("region", ("eu", "us")), 0.04) == (0.02, 0.01)
    assert split(Segments("region", most=9), 0.04) == pytest.approx((0.02, 0.002))  # nine and the others


def test_the_more_are_declared_the_wider_is_each_ones_interval() -> None:
    widths = []
    for values in ("[eu]", "[eu, us, asia, africa, oceania]"):
        part = check(0.02, f"{{label: region, values: {values}}}").evaluate(window(eu=GOOD, us=GOOD)).parts[0]
        assert part.low is not None and part.high is not None
        widths.append(part.high - part.low)
    assert widths[0] < widths[1]


def test_with_segments_the_interval_of_all_is_wider() -> None:
    seen = window(eu=GOOD, us=GOOD)
    alone = replace(check(0.02), terms=replace(check(0.02).terms, segments=None)).evaluate(seen)
    together = check(0.02).evaluate(seen)
    assert alone.high is not None and together.high is not None and together.high > alone.high


def test_the_first_that_are_seen_stay_and_the_rest_are_together() -> None:
    late = {"total": 5.0}, {"total": 50.0}
    seen = {name: (Slice(1, 10.0, end, *late),) for name, end in (("c", 0.2), ("a", 0.2), ("", 0.1), ("b", 0.1))}
    seen[OTHERS] = (Slice(1, 10.0, 0.3, *late),)
    picked = Segments("region", most=2).pick(seen)
    assert list(picked) == ["b", "a", OTHERS]
    assert [(each.end, each.canary["total"]) for each in picked[OTHERS]] == [(0.2, 5.0), (0.3, 5.0)]
    more = Segments("region", most=2).pick({**seen, "0": (Slice(1, 10.0, 0.3, *late),)})
    assert list(more) == ["b", "a", OTHERS]
    assert [each.canary["total"] for each in more[OTHERS]] == [5.0, 10.0]


def test_others_are_shown_once_there_are_some() -> None:
    def parts(**segments: Counts) -> list[str]:
        found = check(0.02, "{label: region, most: 2}").evaluate(window(**segments))
        return [each.name for each in found.parts]

    assert parts(eu=GOOD, us=GOOD) == ["eu", "us"]
    assert parts(eu=GOOD, us=GOOD, zz=FEW) == ["eu", "us", OTHERS]


def test_values_that_were_not_declared_count_in_the_whole_alone() -> None:
    found = check(0.02).evaluate(window(eu=GOOD, us=GOOD, asia=FEW))
    assert [each.name for each in found.parts] == ["eu", "us"] and found.n == 8040


def test_the_label_is_asked_for() -> None:
    assert {each.by for each in check(0.0).needs} == {"region"}
    assert all(isinstance(each, Need) for each in check(0.0).needs)


@pytest.mark.parametrize(
    ("segments", "problem"),
    [
        ("{values: [eu]}", "segments.label: is missing"),
        ("{label: 'a b', values: [eu]}", "segments.label: 'a b' is not the name of a label"),
        ("{label: region}", "segments.label: either values or most is needed, not both"),
        ("{label: region, values: [eu], most: 3}", "segments.values: either values or most"),
        ("{label: region, values: [eu, eu]}", "segments.values: holds a value twice"),
        ("{label: region, values: ['']}", "segments.values: holds a value twice, or an empty one"),
        ("{label: region, most: 0}", "segments.most: 0 is not between 1 and 50"),
        ("{label: region, most: 51}", "segments.most: 51 is not between"),
        (f"{{label: region, values: [{', '.join(f'v{n}' for n in range(51))}]}}", "segments.values: has 51 values"),
        ("{label: region, most: 3, margin: 2}", "segments.margin: 2 is not between"),
        ("{label: region, most: 3, min_sampel: 2}", "segments.min_sampel: is not a known key"),
        ("[eu]", "segments: is not a mapping"),
    ],
)
def test_mistakes_name_the_line(segments: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        check(0.02, segments)
    assert str(caught.value).startswith(f"gate.yaml:6: {problem}")
