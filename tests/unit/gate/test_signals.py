from __future__ import annotations

import random
import time

import pytest

from modelpack.errors import InputError
from modelpack.fields import read
from modelpack.gate.signals import Drift, Labels, Seen, judge, read_signals, stability_index

NOW = 1000.0
MAE = Labels("live", "mae", limit=2.0, min_sample=50, window=600.0)
SHARE = Labels("live", "accuracy", limit=0.9, min_sample=50, window=600.0)
PSI = Drift("shape", limit=0.25, min_sample=50, window=600.0)


def seen(errors: list[float], version: str = "v2", t: float = NOW - 1) -> list[Seen]:
    return [Seen(t, version, 20.0 + each, 20.0) for each in errors]


@pytest.mark.parametrize(
    ("errors", "stale", "words"),
    [
        ([3.0, 3.2] * 30, True, "mae 3.1 of 60 labels, surely at least 3.0"),
        ([1.5, 2.6] * 30, False, "mae 2.05 of 60"),  # above the limit, but not surely
        ([0.5] * 60, False, "the limit is 2"),
        ([9.0] * 49, False, "49 of 50 labels are there"),
        ([], False, "0 of 50"),
    ],
)
def test_a_live_error_is_stale_once_it_is_surely_above_the_limit(errors: list[float], stale: bool, words: str) -> None:
    signal = judge(MAE, seen(errors), NOW)
    assert (signal.stale, words in signal.reason) == (stale, True), signal.reason


def test_labels_of_another_version_and_old_predictions_do_not_count() -> None:
    assert judge(MAE, seen([9.0] * 100, "v1") + seen([0.5] * 60, "v2"), NOW).stale is False
    assert judge(MAE, seen([9.0] * 100, t=NOW - 601), NOW).n == 0
    assert judge(MAE, [Seen(NOW - 1, "v2", 5.0)] * 100, NOW).n == 0  # nobody knows the truth yet


def test_root_mean_square_is_of_squares() -> None:
    spec = Labels("live", "rmse", limit=2.0, min_sample=50, window=600.0)
    signal = judge(spec, seen([3.0, -3.0] * 30), NOW)
    assert signal.value == pytest.approx(3.0) and signal.stale


@pytest.mark.parametrize(("wrong", "stale"), [(0, False), (6, False), (30, True)])
def test_accuracy_is_a_share_with_its_upper_bound(wrong: int, stale: bool) -> None:
    answers = [Seen(NOW - 1, "v2", "cat" if number < wrong else "dog", "dog") for number in range(60)]
    signal = judge(SHARE, answers, NOW)
    assert (signal.stale, signal.value) == (stale, pytest.approx(1 - wrong / 60))


def test_drift_compares_the_last_predictions_with_the_first() -> None:
    draw = random.Random(1)
    first = [Seen(10.0, "v2", draw.gauss(20, 3)) for _ in range(50)]
    moved = [Seen(NOW - 1, "v2", draw.gauss(26, 3)) for _ in range(400)]
    signal = judge(PSI, first + moved, NOW)
    assert signal.stale and signal.n == 400 and "stability index" in signal.reason
    assert "0 of 50 predictions after the first 50" in judge(PSI, first, NOW).reason


def test_a_text_among_numbers_is_named_and_starts_nothing() -> None:
    values: list[float | str] = [random.Random(5).gauss(20, 3) for _ in range(119)] + ["n/a"]
    signal = judge(PSI, [Seen(NOW - 1, "v2", each) for each in values], NOW)
    assert not signal.stale and signal.value is None
    assert signal.reason == "prediction 120 of 120 is 'n/a', and all but 1 are numbers"


def test_few_predictions_of_one_distribution_are_rarely_called_drift() -> None:
    draw = random.Random(2)
    looks = [
        judge(PSI, [Seen(NOW - 1, "v2", draw.gauss(20, 3)) for _ in range(250)], NOW)  # 50 are the reference
        for _ in range(300)
    ]
    assert sum(each.value > PSI.limit for each in looks if each.value) > 20  # the limit alone would call many
    assert sum(each.stale for each in looks) <= 12


def test_the_stability_index_of_what_did_not_change_is_zero() -> None:
    assert stability_index([1.0, 2.0, 3.0] * 20, [3.0, 2.0, 1.0] * 20) == (0.0, 3)
    assert stability_index(["a", "b"] * 50, ["a", "b"] * 50) == (0.0, 2)
    # two equal bins that become 0.75 and 0.25, with half a row added to each count
    assert stability_index(["a", "b"] * 50, ["a", "a", "a", "b"] * 25)[0] == pytest.approx(0.26868, abs=1e-4)


GOOD = """signals:
- {name: live, type: labels, metric: mae, limit: 2.0, min_sample: 50, window: 1h}
- {name: d, type: drift}
"""


def test_signals_are_read_strictly() -> None:
    assert read_signals(read(GOOD, "gate.yaml"), {}, "mpg") == (
        Labels("live", "mae", 2.0, 50, 3600.0),
        Drift("d", 0.25, 100, 604800.0),
    )
    for old, new, problem in (
        ("metric: mae", "metric: mea", "gate.yaml:2.*did you mean 'mae'"),
        ("limit: 2.0", "limt: 2.0", "limt.*did you mean 'limit'"),
        ("name: d,", "name: live,", "gate.yaml:3.*given twice"),
        ("min_sample: 50", "min_sample: 3", "not between"),
    ):
        with pytest.raises(InputError, match=problem):
            read_signals(read(GOOD.replace(old, new), "gate.yaml"), {}, "mpg")


@pytest.mark.parametrize("metric", ["mae", "rmse"])
@pytest.mark.parametrize("told", [1e80, 1.7e308, -1.7e308])
def test_a_number_that_no_model_says_hides_nothing(metric: str, told: float) -> None:
    spec = Labels("live", metric, limit=2.0, min_sample=50, window=600.0)
    signal = judge(spec, [*seen([3.0, 3.2] * 30), Seen(NOW - 1, "v2", told, -told)], NOW)
    assert signal.stale and signal.n == 60 and signal.value == pytest.approx(3.1, abs=0.01)


def test_texts_and_versions_that_are_all_different_take_no_longer() -> None:
    flood = [Seen(NOW - 1, f"v{each % 7000}", f"word {each}") for each in range(20_000)]
    mixed = [*(Seen(NOW - 1, "v2", float(each)) for each in range(20_000)), Seen(NOW - 1, "v2", "x")]
    start = time.monotonic()
    judge(Drift("shape", limit=0.25, min_sample=50, window=600.0), mixed, NOW)
    judge(Labels("live", "accuracy", limit=0.9, min_sample=20_000, window=600.0), flood, NOW)
    assert time.monotonic() - start < 5  # seconds; by counting each value in all others it is many minutes


REFERENCE = b'{"shape": {"bounds": [14, 18, 22, 26], "counts": [30, 200, 540, 200, 30]}}'
AGAINST = "signals:\n- {name: shape, type: drift, against: reference, min_sample: 50}\n"


def test_drift_against_a_reference_needs_no_first_predictions() -> None:
    (spec,) = read_signals(read(AGAINST, "gate.yaml"), {"reference.json": REFERENCE}, "mpg")
    draw = random.Random(3)
    near, far = ([Seen(NOW - 1, "v2", draw.gauss(mean, 3)) for _ in range(200)] for mean in (20, 26))
    assert isinstance(spec, Drift)
    assert (judge(spec, near, NOW).status, judge(spec, far, NOW).status) == ("ok", "stale")
    assert judge(spec, near[:49], NOW).reason == "49 of 50 predictions are there"
    with pytest.raises(InputError, match=r"mpg/reference\.json.*signal 'shape' needs it"):
        read_signals(read(AGAINST, "gate.yaml"), {}, "mpg")


def test_a_model_has_only_so_many_signals() -> None:
    text = "signals:\n" + "".join(f"- {{name: s{number}, type: drift}}\n" for number in range(21))
    with pytest.raises(InputError, match=r"gate\.yaml:22.*one more than the 20"):
        read_signals(read(text, "gate.yaml"), {}, "mpg")


def test_fewer_false_alarms_take_more_to_be_sure() -> None:
    found = [judge(Labels("live", "mae", 2.0, 50, 600.0, alarms), seen([1.0, 3.4] * 60), NOW) for alarms in (100, 0.01)]
    assert [each.stale for each in found] == [False, False]
    found = [judge(Labels("live", "mae", 2.0, 50, 600.0, alarms), seen([1.0, 4.0] * 60), NOW) for alarms in (100, 0.01)]
    assert [each.stale for each in found] == [True, False] and all(each.beyond for each in found)
