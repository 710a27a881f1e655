"""What a ModelSync asks for now, as tables; and any number of rounds with crashes in between, as properties."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.reconcile.answer import Answer, Failure, digest_of
from modelpack.reconcile.modelsync import Json, ModelSync, Run, State, run_of
from modelpack.reconcile.sync import GRACE, LAST_RETRY, Decision, decide, retry_after
from tests.fakes.modelsyncs import NOW, last_run, run, sync

YES, NO = Answer(True), Answer(False)
SAME = digest_of({})
FAILED, SUCCEEDED, RUNNING, PENDING, LOST = State.FAILED, State.SUCCEEDED, State.RUNNING, State.PENDING, State.LOST


def condition(decision: Decision, kind: str) -> tuple[str, str]:
    assert decision.status
    (found,) = (each for each in decision.status["conditions"] if each["type"] == kind)
    return found["status"], found["reason"]


def started(decision: Decision) -> int:
    """The number of the run that is created, 0 for none; it is claimed before, or was."""
    if not decision.create:
        return 0
    number = int(decision.create["metadata"]["annotations"]["modelpack.dev/number"])
    assert decision.status is None or decision.status.get("lastRun", {"number": number})["number"] == number
    return number


@pytest.mark.parametrize(
    ("runs", "last", "answer", "number"),
    [
        ([], None, YES, 1),
        ([], None, NO, 0),
        ([], None, None, 0),
        ([], None, Failure("NeedsSyncFailed", "away"), 0),
        ([run(1)], None, YES, 0),
        ([run(1), run(2, FAILED)], None, YES, 0),
        # a run that succeeded and did not end the need: a pull request may be open
        ([run(1, SUCCEEDED, digest=SAME)], None, YES, 0),
        ([run(1, SUCCEEDED, digest="other")], None, YES, 0),
        ([run(1, SUCCEEDED, digest="other", ended=NOW - 61)], None, YES, 2),
        ([run(1, SUCCEEDED, digest="other", ended=NOW - 61, attempt=2)], None, YES, 0),
        ([run(1, SUCCEEDED, digest=SAME, ended=NOW - 90_000)], None, YES, 2),
        ([run(1, SUCCEEDED, digest=SAME)], last_run(SUCCEEDED, digest=SAME, settled=True), YES, 2),
        ([], last_run(SUCCEEDED, digest=SAME, completionTime=NOW), YES, 0),
        ([run(1, SUCCEEDED, digest=SAME)], last_run(SUCCEEDED, digest=SAME, generation=0), YES, 0),
        # back-off
        ([run(1, FAILED, digest=SAME)], None, YES, 0),
        ([run(1, FAILED, digest=SAME, ended=NOW - 61)], None, YES, 2),
        ([run(2, FAILED, digest=SAME, ended=NOW - 61, attempt=2)], None, YES, 0),
        ([run(2, FAILED, digest="other")], None, YES, 0),
        ([run(2, FAILED, digest="other", ended=NOW - 61)], None, YES, 3),
        ([run(7, FAILED, digest="other", ended=NOW - 90_000, attempt=7)], None, YES, 8),
        ([run(7, FAILED, digest=SAME, ended=NOW - 90_000, attempt=7)], None, YES, 0),
        ([], last_run(FAILED, digest=SAME, completionTime=NOW), YES, 0),
        # a clock that was set back does not hold a run for as long
        ([run(1, FAILED, digest=SAME, ended=NOW + 9000)], None, YES, 2),
        # a claim
        ([], last_run(PENDING, digest=SAME, claimTime=NOW - 1), YES, 0),
        ([], last_run(PENDING, digest=SAME, claimTime=NOW - 11), YES, 1),
        ([], last_run(PENDING, digest="other", claimTime=NOW - 11), YES, 1),
        ([], last_run(PENDING, digest=SAME, claimTime=NOW - 11), NO, 0),
        # a run that somebody deleted
        ([], last_run(RUNNING, digest=SAME), YES, 0),
        ([], last_run(LOST, digest=SAME, completionTime=NOW - 61), YES, 2),
        # the status was lost
        ([run(4, SUCCEEDED, digest="other", ended=NOW - 61)], None, YES, 5),
    ],
)
def test_which_run_is_started(
    runs: list[Run], last: dict[str, Any] | None, answer: Answer | Failure | None, number: int
) -> None:
    assert started(decide(sync({"lastRun": last} if last else None), runs, answer, NOW)) == number


@pytest.mark.parametrize(
    ("runs", "answer", "ready", "synced", "syncing"),
    [
        ([], None, ("Unknown", "NotAsked"), ("Unknown", "NotAsked"), ("False", "NoRun")),
        ([], NO, ("True", "Asked"), ("True", "UpToDate"), ("False", "NoRun")),
        ([], YES, ("True", "Asked"), ("False", "NeedsSync"), ("True", "Starting")),
        ([run(1)], None, ("Unknown", "NotAsked"), ("Unknown", "NotAsked"), ("True", "RunActive")),
        ([], Failure("Away", "it"), ("False", "Away"), ("Unknown", "NotAsked"), ("False", "NoRun")),
        ([run(1, SUCCEEDED, digest=SAME)], YES, ("True", "Asked"), ("False", "Waiting"), ("False", "RunSucceeded")),
        ([run(1, FAILED, digest=SAME)], YES, ("True", "Asked"), ("False", "BackingOff"), ("False", "RunFailed")),
        (
            [run(7, FAILED, digest=SAME, attempt=7)],
            YES,
            ("False", "BackoffLimitExceeded"),
            ("False", "BackoffLimitExceeded"),
            ("False", "RunFailed"),
        ),
    ],
)
def test_what_the_status_says(
    runs: list[Run],
    answer: Answer | Failure | None,
    ready: tuple[str, str],
    synced: tuple[str, str],
    syncing: tuple[str, str],
) -> None:
    decision = decide(sync(), runs, answer, NOW)
    assert [condition(decision, each) for each in ("Ready", "Synced", "Syncing")] == [ready, synced, syncing]
    assert decision.status and decision.status["observedGeneration"] == 1
    assert [each["name"] for each in decision.status.get("active") or ()] == [
        each.name for each in runs if each.state is RUNNING
    ]


def test_a_spec_that_makes_no_sense_is_said_and_nobody_is_asked() -> None:
    decision = decide(sync(needsSyncUrl=""), [], None, NOW)
    assert condition(decision, "Ready") == ("False", "InvalidSpec") and not decision.ask and not decision.create


def test_a_parameter_that_the_answer_lacks_is_said() -> None:
    decision = decide(sync(parameters=[{"pipelineName": "name"}]), [], YES, NOW)
    assert condition(decision, "Ready") == ("False", "IncompleteAnswer") and not decision.create


@pytest.mark.parametrize("quiet", [{"suspend": True}, {"needsSyncUrl": ""}])
def test_who_is_suspended_or_wrong_starts_nothing(quiet: dict[str, Any]) -> None:
    decision = decide(sync(**quiet), [], YES, NOW)
    assert not decision.ask and not decision.create


def test_an_object_that_is_being_deleted_is_left_alone() -> None:
    assert decide(replace(sync(), deleting=True), [run(1, FAILED)] * 50, YES, NOW) == Decision()


def test_the_oldest_beyond_the_limits_are_removed() -> None:
    runs = [run(n, SUCCEEDED if n % 2 else FAILED) for n in range(1, 9)]
    limits = {"successfulPipelineRunsHistoryLimit": 1, "failedPipelineRunsHistoryLimit": 0}
    removed = decide(sync(**limits), [*runs, run(9)], None, NOW).remove
    assert sorted(each.number for each in removed) == [1, 2, 3, 4, 5, 6, 8]
    assert not decide(sync(**limits), [replace(runs[1], deleting=True)], None, NOW).remove


def test_attempts_are_counted_until_needs_sync_was_content() -> None:
    failed = [run(3, FAILED, digest=SAME, attempt=3, ended=NOW - LAST_RETRY)]
    again = decide(sync(), failed, YES, NOW).create
    settled = {"lastRun": last_run(FAILED, number=3, digest=SAME, settled=True)}
    other = decide(sync(settled), failed, YES, NOW).create
    assert again and other
    said = [each["metadata"]["annotations"]["modelpack.dev/attempt"] for each in (again, other)]
    assert said == ["4", "1"]


def test_a_changed_spec_is_a_new_beginning() -> None:
    stuck = [replace(run(7, FAILED, digest=SAME, attempt=7), generation=0)]
    made = decide(sync(), stuck, YES, NOW).create
    assert made and made["metadata"]["annotations"]["modelpack.dev/attempt"] == "1"


def test_the_wait_doubles_and_has_an_end() -> None:
    assert [retry_after(n) for n in (1, 2, 3, 50)] == [60.0, 120.0, 240.0, LAST_RETRY]


def test_a_refused_run_is_said_once_and_tried_again_without_a_word() -> None:
    world = World()
    first = world.decide(YES)
    world.write(first.status)
    refused = world.decide(Failure("CreateFailed", "quota"))
    assert condition(refused, "Ready") == ("False", "CreateFailed")
    world.write(refused.status)
    world.now += 11
    again = world.decide(YES)
    assert started(again) == started(first) and again.status is None


# -- any number of rounds


@dataclass
class World:
    """An API server with one ModelSync, and a Tekton that ends runs when it is told."""

    status: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    now: float = NOW
    made: list[str] = field(default_factory=list)

    def sync(self) -> ModelSync:
        return sync(self.status, successfulPipelineRunsHistoryLimit=1, failedPipelineRunsHistoryLimit=1)

    def decide(self, answer: Answer | Failure | None) -> Decision:
        return decide(self.sync(), list(self.runs.values()), answer, self.now)

    def write(self, patch: Json | None) -> None:
        """A merge patch (RFC 7386), one level deep as the operator's are."""
        for key, value in (patch or {}).items():
            if isinstance(value, dict):
                merged = {**self.status.get(key, {}), **value}
                self.status[key] = {name: each for name, each in merged.items() if each is not None}
            elif value is None:
                self.status.pop(key, None)
            else:
                self.status[key] = value

    def create(self, made: Json) -> None:
        if (name := made["metadata"]["name"]) not in self.runs:
            found = run_of({**made, "metadata": {**made["metadata"], "uid": f"r-{name}"}})
            assert found
            self.runs[name] = replace(found, created=self.now)
            self.made.append(name)

    def do(self, answer: Answer | Failure | None, steps: int = 3) -> None:
        """A round that is killed after so many steps."""
        decision = self.decide(answer)
        if steps > 0:
            self.write(decision.status)
        if steps > 1 and decision.create:
            self.create(decision.create)
        if steps > 2:
            for each in decision.remove:
                self.runs.pop(each.name)

    def end(self, state: State) -> None:
        for name, each in self.runs.items():
            if each.state is RUNNING:
                self.runs[name] = replace(each, state=state, finished=self.now)

    def active(self) -> int:
        return sum(each.state is RUNNING for each in self.runs.values())


ANSWERS = st.sampled_from([YES, NO, Failure("Away", "it"), None, Answer(True, {"unmapped": "x"})])
EVENTS = st.tuples(ANSWERS, st.integers(0, 3), st.sampled_from([None, None, SUCCEEDED, FAILED]), st.floats(0, 2000))


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=30))
def test_whenever_it_is_killed_one_run_is_active_and_it_comes_to_rest(events: list[Any]) -> None:
    world = World()
    for answer, steps, ended, seconds in events:
        world.do(answer, steps)
        assert world.active() <= 1
        if ended:
            world.end(ended)
        world.now += seconds
    assert len(world.made) == len(set(world.made))
    world.end(SUCCEEDED)
    world.now += GRACE
    for _ in range(3):
        world.do(NO)
    last = world.decide(NO)
    assert (last.status, last.create, last.remove) == (None, None, ())
    assert len(world.runs) <= 2
    before = len(world.made)
    world.do(YES)
    assert len(world.made) == before + 1, "a new need starts a new run at once"


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=12), ANSWERS)
def test_what_did_not_change_is_not_written_again(events: list[Any], answer: Answer | Failure | None) -> None:
    world = World()
    for said, steps, ended, seconds in events:
        world.do(said, steps)
        if ended:
            world.end(ended)
        world.now += seconds
    world.do(answer)
    world.do(answer)
    assert world.decide(answer).status is None


def test_a_wrong_status_stops_nothing() -> None:
    for wrong in ({"lastRun": {"number": "x"}}, {"lastRun": []}, {"conditions": "x"}, {"lastSyncTime": "yesterday"}):
        assert started(decide(sync(wrong), [], YES, NOW)) == 1
