from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from modelpack.errors import RefusedError
from modelpack.gate import feedback as room
from modelpack.gate.checks import Told
from modelpack.gate.feedback import TELLING, TOLD, Episode, Feedback, Prediction
from modelpack.gate.rollouts import Rollout
from modelpack.gate.serving import Signal
from modelpack.gate.signals import Labels
from modelpack.gate.store import Store

SPEC = Labels("live", "mae", limit=1.0, min_sample=20, window=1e6)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.in_file(tmp_path / "gate.sqlite")
    yield store
    store.close()


@pytest.fixture
def feedback(store: Store, clock: Clock) -> Feedback:
    return Feedback(store, clock)


def test_labels_join_predictions_however_late_and_in_whatever_order(feedback: Feedback, clock: Clock) -> None:
    assert feedback.add_labels("mpg", {"a": 20.0}) == (1, 1)  # before its prediction
    assert feedback.add_predictions("mpg", [Prediction("a", "v2", 21.0), Prediction("b", "v2", 30.0)]) == 2
    clock.now += 86400
    assert feedback.add_labels("mpg", {"b": 31.0, "c": 1.0}) == (2, 1)
    assert [(each.prediction, each.truth) for each in feedback.seen("mpg")] == [(21.0, 20.0), (30.0, 31.0)]
    assert feedback.seen("other") == []


def test_a_repeated_prediction_changes_nothing_and_a_repeated_label_corrects(feedback: Feedback) -> None:
    feedback.add_predictions("mpg", [Prediction("a", "v2", 21.0)])
    assert feedback.add_predictions("mpg", [Prediction("a", "v2", 99.0), Prediction("a", "v2", 98.0)]) == 0
    feedback.add_labels("mpg", {"a": 20.0})
    assert feedback.add_labels("mpg", {"a": 22.0}) == (0, 0)
    assert [(each.version, each.prediction, each.truth) for each in feedback.seen("mpg")] == [("v2", 21.0, 22.0)]


def test_a_signal_says_since_when_it_calls(feedback: Feedback, clock: Clock) -> None:
    ids = [f"r{number}" for number in range(30)]
    feedback.add_predictions("mpg", [Prediction(each, "v2", 25.0) for each in ids])
    feedback.add_labels("mpg", dict.fromkeys(ids, 20.0))
    first = feedback.signals("mpg", [SPEC])[0]
    clock.now += 50
    again = feedback.signals("mpg", [SPEC])[0]
    assert first["stale"] and first["since"] == again["since"] == 1000.0 and first["version"] == "v2"
    feedback.add_labels("mpg", dict.fromkeys(ids, 25.0))
    assert feedback.signals("mpg", [SPEC])[0]["since"] is None
    feedback.add_labels("mpg", dict.fromkeys(ids, 20.0))
    clock.now += 50
    assert feedback.signals("mpg", [SPEC])[0]["since"] == 1100.0  # a new episode
    assert feedback.signals("mpg", []) == []  # what gate.yaml no longer names


def test_an_alert_calls_while_it_fires(feedback: Feedback, clock: Clock) -> None:
    feedback.set_alert("mpg", "PredictionsFarOff", "mean 3 above", firing=True)
    clock.now += 10
    feedback.set_alert("mpg", "PredictionsFarOff", "mean 4 above", firing=True)
    found = feedback.signals("mpg", [])
    assert [(each["kind"], each["name"], each["since"], each["reason"]) for each in found] == [
        ("alert", "PredictionsFarOff", 1000.0, "mean 4 above")
    ]
    feedback.set_alert("mpg", "PredictionsFarOff", "", firing=False)
    assert feedback.signals("mpg", []) == []
    for number in range(room.MOST_ALERTS + 5):
        feedback.set_alert("mpg", f"a{number}", "x", firing=True)
    assert len(feedback.signals("mpg", [])) == room.MOST_ALERTS


def test_what_is_kept_is_bounded(feedback: Feedback, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST", 10)
    for number in range(15):
        clock.now += 1
        feedback.add_predictions("mpg", [Prediction(f"r{number}", "v2", 1.0)])
        feedback.add_labels("mpg", {f"r{number}": 1.0})
    assert [each.t for each in feedback.seen("mpg")] == [1006.0 + number for number in range(10)]
    clock.now += room.KEPT + 100
    feedback.add_predictions("mpg", [Prediction("new", "v2", 1.0)])
    assert len(feedback.seen("mpg")) == 1


def test_what_a_rollout_is_judged_by_stays_while_it_is(
    store: Store, feedback: Feedback, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST", 10)
    rollout = Rollout("r", "n", "mpg", "mpg", "c", "d", "m:v2", "m:v1", "Progressing", 0, 0, 0, 60, 0.05)
    store.add(replace(rollout, traffic_started=clock.now), {})

    def tell(first: int) -> None:
        for number in range(first, first + 15):
            clock.now += 1
            found = [Prediction(f"r{number}", version, 1.0) for version in ("v2", "v1", "v0")]
            feedback.add_predictions("mpg", found)
            feedback.add_labels("mpg", {f"r{number}": 1.0, f"x{number}": 1.0})

    def judged() -> list[tuple[str, str, bool]]:
        told = feedback.told("mpg", rollout.roles, 0.0, 60, clock.now)
        return sorted((each.id, each.role, each.truth is not None) for each in told)

    tell(0)
    first = judged()
    assert first == sorted((f"r{number}", role, True) for number in range(10) for role in ("canary", "primary"))
    tell(15)
    assert judged() == first, "a test that has looked once sees the same again"
    assert sum(each.version == "v0" for each in feedback.seen("mpg")) == 10, "others are the newest ones"
    store.save([replace(rollout, ended=clock.now)], clock.now)
    tell(30)
    assert len(feedback.seen("mpg")) <= 10


def test_of_alerts_few_models_are_kept(feedback: Feedback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_MODELS", 2)
    for model in ("a", "b", "b"):
        feedback.set_alert(model, "Slow", "x", firing=True)
    with pytest.raises(RefusedError, match="2 whose alerts are kept"):
        feedback.set_alert("c", "Slow", "x", firing=True)


def test_lineage_is_kept_by_digest(feedback: Feedback) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        feedback.put_lineage("sha256:1", {"mae": float("nan")})
    feedback.put_lineage("sha256:1", {"links": [1]})
    feedback.put_lineage("sha256:1", {"links": [2]})
    assert feedback.lineage("sha256:1") == {"links": [2]} and feedback.lineage("sha256:2") is None


def test_made_up_models_take_no_more_room_than_so_many(
    feedback: Feedback, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_MODELS", 3)
    for each in ("mpg", "a", "b"):
        feedback.add_predictions(each, [Prediction("x", "v1", 1.0), Prediction("y", "v1", 1.0)])
        feedback.add_labels(each, {"x": 1.0, "y": 1.0})
    for tell in (
        lambda: feedback.add_predictions("c", [Prediction("x", "v1", 1.0)]),
        lambda: feedback.add_labels("c", {"x": 1.0}),
    ):
        with pytest.raises(RefusedError, match="one model more than the 3"):
            tell()
    assert feedback.add_predictions("mpg", [Prediction("z", "v1", 1.0)]) == 1  # those that are known go on
    clock.now += room.KEPT + 1
    assert feedback.add_predictions("c", [Prediction("x", "v1", 1.0)]) == 1


def test_a_rollouts_predictions_have_the_role_of_their_version(feedback: Feedback, clock: Clock) -> None:
    feedback.add_predictions("mpg", [Prediction("before", "v2", 1.0)])
    clock.now += 100
    feedback.add_predictions("mpg", [Prediction("a", "v1", 1.0, "eu"), Prediction("b", "v9", 9.0)])
    clock.now += 30
    feedback.add_predictions("mpg", [Prediction("a", "v2", 2.0, "eu")])  # the same request, mirrored
    feedback.add_labels("mpg", {"a": 1.5})
    roles = {"v1": "primary", "v2": "canary"}
    told = (
        Told("a", "primary", 1.0, t=0.5, truth=1.5, segment="eu"),
        Told("a", "canary", 2.0, t=0.8, truth=1.5, segment="eu"),
    )
    assert feedback.told("mpg", roles, since=1050.0, horizon=100.0, until=clock.now) == told
    clock.now += 10
    feedback.add_predictions("mpg", [Prediction("c", "v2", 3.0)])
    feedback.add_labels("mpg", {"a": 1.5, "c": 3.0})
    assert feedback.told("mpg", roles, since=1050.0, horizon=100.0, until=clock.now - 1) == told
    feedback.add_labels("mpg", {"a": 1.6})  # what it was is not known any more
    unlabelled = tuple(replace(each, truth=None) for each in told)
    assert feedback.told("mpg", roles, since=1050.0, horizon=100.0, until=clock.now - 1) == unlabelled


def test_an_episode_lasts_until_the_value_is_back_within_its_limit(feedback: Feedback, clock: Clock) -> None:
    """What is no longer sure is no end: else one alarm would be many."""

    def signal(stale: bool, beyond: bool, version: str = "v2") -> float | None:
        clock.now += 1
        found = Signal("live", "labels", stale, "x", version, 2.0, 1.0, 30, beyond)
        return cast("float | None", feedback.signals("mpg", [], [found])[0]["since"])

    assert signal(False, True) is None
    assert signal(True, True) == signal(False, True) == 1002.0
    assert signal(False, False) is None
    assert signal(True, True) == 1005.0
    assert signal(False, True, "v3") is None  # another version has to be found out by itself
    assert signal(True, True, "v3") == 1007.0


def test_an_episode_is_told_once_and_so_is_its_end(feedback: Feedback, clock: Clock) -> None:
    def look(stale: bool) -> list[Episode]:
        feedback.signals("mpg", [], [Signal("live", "labels", stale, "x", "v2", 2.0, 1.0, 30)], "default")
        return feedback.untold("mpg", "default")

    assert look(False) == []
    (begun,) = look(True)
    assert (begun.name, begun.since, begun.ended) == ("live", 1000.0, None)
    feedback.mark(begun, TOLD)
    assert look(True) == []
    feedback.mark(begun, "")  # nobody could be told
    assert look(True) == [begun]
    feedback.mark(begun, TELLING)
    assert look(True) == [begun]  # the gate may have been killed
    clock.now += 60
    (ended,) = look(False)  # while it is told: it has an end to be told of too
    assert ended.ended == 1060.0
    for each in (TELLING, ""):
        feedback.mark(ended, each)
        assert look(False) == [ended]
    feedback.mark(ended, TOLD)
    assert look(False) == []
    look(True)
    assert look(False) == []  # of what nobody heard begin, nobody needs to hear the end


def test_a_file_from_before_there_were_episodes_is_read(tmp_path: Path) -> None:
    for word in ("CREATE TABLE stale (model VARCHAR)", "DROP TABLE episodes"):
        store = Store.in_file(tmp_path / "gate.sqlite")
        Feedback(store).add_labels("mpg", {"a": 1.0})
        with store.writing() as connection:
            connection.exec_driver_sql(word)
        store.close()
    store = Store.in_file(tmp_path / "gate.sqlite")
    feedback = Feedback(store)
    assert feedback.add_labels("mpg", {"a": 1.0}) == (0, 1) and feedback.signals("mpg", []) == []
    store.close()


def test_what_a_prometheus_says_is_of_one_namespace(feedback: Feedback) -> None:
    bad, good = (Signal("errors", "proportion", each, "x", "", 0.1, 0.05, 900) for each in (True, False))
    assert feedback.signals("mpg", [], [bad], "staging")[0]["since"] == 1000.0
    assert feedback.signals("mpg", [], [good], "production")[0]["since"] is None
    assert feedback.signals("mpg", [], [bad], "staging")[0]["status"] == "stale"
