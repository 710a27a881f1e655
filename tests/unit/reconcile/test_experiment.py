"""When the experimental pipeline is compared with the one in production, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelpack.reconcile.experiment import decide
from modelpack.reconcile.trainer import Action, Attempt, State
from modelpack.reconcile.trainer import decide as train
from modelpack.training.run import State as Run

NOW = 1_800_000_000.0
STATE = State("mpg", "reg.local/mpg", NOW, "d1", "e1")
DONE = Attempt("x1", "experimental", "d1", "e1", "experiment p1", Run.SUCCEEDED, NOW - 9, "fine", kind="experiment")


@pytest.mark.parametrize(
    ("changes", "attempts", "action", "run", "words"),
    [
        ({}, (), Action.START, True, "its experiment is another than the one compared last, or the first"),
        ({"ready": False, "note": "3 objects lack"}, (), Action.WAIT, False, "3 objects lack"),
        ({}, ({"state": Run.RUNNING},), Action.WAIT, False, "x1 is under way"),
        ({}, ({"state": Run.RUNNING, "kind": "train", "id": "t1"},), Action.WAIT, False, "t1 is under way"),
        # once for each pair of definitions, whatever becomes of the data
        ({}, ({},), Action.NOTHING, False, "its experiment did not pass: fine"),
        ({"data": "d2"}, ({},), Action.NOTHING, False, "did not pass"),
        ({}, ({"passed": True},), Action.NOTHING, True, "its experiment passed the comparison"),
        ({"data": "d2"}, ({"passed": True},), Action.NOTHING, True, "passed"),
        ({}, ({"code": "e0"},), Action.START, True, "another"),
        ({}, ({"cause": "experiment p0"},), Action.START, True, "another"),
        ({}, ({}, {"code": "e0", "passed": True}), Action.NOTHING, False, "did not pass"),  # back to one that did not
        ({}, ({"kind": "train"},), Action.START, True, "another"),
        # what failed is tried again as any run is
        ({}, ({"state": Run.FAILED},), Action.HOLD, False, "data, code or training.yaml has to change first"),
        ({}, ({"state": Run.FAILED, "retryable": True},), Action.WAIT, False, "once more in 51 s"),
        ({"now": NOW + 99}, ({"state": Run.FAILED, "retryable": True},), Action.START, True, "attempt 2"),
        ({"data": "d2"}, ({"state": Run.FAILED},), Action.HOLD, False, "has to change first"),
    ],
)  # fmt: skip
def test_what_is_compared(
    changes: dict[str, object], attempts: tuple[dict[str, object], ...], action: Action, run: bool, words: str
) -> None:
    state = replace(STATE, **changes, attempts=tuple(replace(DONE, **each) for each in attempts))  # type: ignore[arg-type]
    found = decide(state, "p1", "e1")
    assert words in found.reason
    assert (found.action, bool(found.run)) == (action, run)
    assert decide(replace(state, data="d9"), "p1", "e1").run == found.run, "the data does not tell one from another"


def test_what_is_in_production_already_is_not_compared() -> None:
    found = decide(STATE, "p1", "e1", same=True)
    assert (found.action, found.run) == (Action.NOTHING, "")


def test_a_comparison_is_no_version_of_the_model() -> None:
    """It takes its turn among the runs, and tells nothing about what was trained."""
    state = replace(STATE, code="e1", attempts=(replace(DONE, passed=True),))
    assert train(state).reason == "no run of it has come to an end yet"
    assert train(replace(state, attempts=(replace(DONE, state=Run.RUNNING),))).action is Action.WAIT
