"""When a model is trained anew, as tables; and in a world where anything happens in any order."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.reconcile import deployer
from modelpack.reconcile.deployer import Candidate, Outdated
from modelpack.reconcile.trainer import Action, Attempt, Decision, Record, Signal, State, backoff, decide
from modelpack.training.definition import Stale
from modelpack.training.identity import run_id
from modelpack.training.run import State as Run

NOW, DAY = 1_800_000_000.0, 86400.0
ALL = Stale(age=7 * DAY, signals=True)
V1 = Record("v1", "d1", "c1", passed=True, ended=NOW - DAY, run="r1")
V2 = Record("v2", "d2", "c1", passed=False, ended=NOW - DAY / 2, run="r2")
R2 = replace(V2, rules="r1")
R3 = replace(R2, version="v3", rules="r2")
DRIFT = Signal("drift", True, "PSI 0.4", NOW - 60, "v1")
AT_REST = State("mpg", "reg.local/mpg", NOW, "d1", "c1", ALL, taken=("v1",), records=(V1,))
LATE = Outdated("v1", "v0", "reg.local/mpg:v0.5")
FAILED = Attempt("a1", "v2", "d2", "c1", "after v1", Run.FAILED, NOW - 10, "disk full", retryable=True)


def attempts(*changes: dict[str, object]) -> tuple[Attempt, ...]:
    return tuple(replace(FAILED, **each) for each in changes)


@pytest.mark.parametrize(
    ("changes", "action", "words"),
    [
        ({}, Action.NOTHING, "its data and code are those of v1"),
        ({"records": (), "taken": ()}, Action.START, "no run of it has come to an end yet"),
        ({"data": "d2"}, Action.START, "its data changed since v1: d1 -> d2"),
        ({"code": "c2"}, Action.START, "its code changed since v1: c1 -> c2"),
        ({"data": "d2", "code": "c2"}, Action.START, "its data changed since v1: d1 -> d2, its code changed"),
        ({"data": "d2", "ready": False, "note": "3 of 9 objects lack"}, Action.WAIT, "3 of 9 objects lack"),
        ({"ready": False}, Action.NOTHING, "those of v1"),
        # tried before
        ({"data": "d2", "records": (V1, V2)}, Action.NOTHING, "tried as v2, which did not pass"),
        ({"data": "d2", "records": (V1, V2), "now": NOW + 900 * DAY}, Action.NOTHING, "tried as v2"),
        ({"data": "d2", "records": (V1, V2, replace(V1, version="v3", data="d3"))}, Action.NOTHING, "tried as v2"),
        ({"data": "d2", "code": "c2", "records": (V1, V2)}, Action.START, "its code changed since v2"),
        ({"records": (V1, V2)}, Action.START, "its data changed since v2: d2 -> d1"),  # back to what was good
        ({"records": (V1, V2), "named": "v0"}, Action.START, "its data changed since v2: d2 -> d1"),
        # back to what Git names
        ({"records": (V1, V2), "named": "v1"}, Action.NOTHING, "its data and code are those of v1, which Git names"),
        ({"records": (V1, V2), "named": "v1", "code": "c2"}, Action.START, "its code changed"),
        ({"records": (V1, V2), "named": "v1", "now": NOW + 7 * DAY}, Action.START, "v1 is older than 7 d"),
        ({"records": (V1, V2), "named": "v1", "signals": (replace(DRIFT, since=NOW - 5),)}, Action.START, "PSI 0.4"),
        ({"records": (replace(V1, rejected=True), V2), "named": "v1"}, Action.NOTHING, "which was rejected"),
        # what it was held against has changed
        ({"data": "d2", "records": (V1, V2)}, Action.NOTHING, "did not pass; modelpack train mpg tries it again"),
        ({"data": "d2", "records": (V1, R2), "rules": "r2"}, Action.START, "what v2 did not pass has changed"),
        ({"data": "d2", "records": (V1, R2), "rules": "r1"}, Action.NOTHING, "tried as v2"),
        ({"data": "d2", "records": (V1, V2), "rules": "r2"}, Action.NOTHING, "tried as v2"),  # nobody knows
        ({"data": "d2", "records": (V1, R2, R3), "rules": "r1"}, Action.NOTHING, "tried as v3"),
        ({"data": "d2", "records": (V1, replace(R2, passed=True, rejected=True)), "rules": "r2"}, Action.NOTHING, "v2"),
        ({"records": (replace(V1, rules="r1"),), "rules": "r2"}, Action.NOTHING, "those of v1"),
        ({"data": "d2", "rules": "r2", "attempts": attempts({"state": Run.SUCCEEDED, "rules": "r"})}, Action.START, ""),
        ({"data": "d2", "rules": "r2", "attempts": attempts({"retryable": False, "rules": "r1"})}, Action.START, "2"),
        ({"data": "d2", "rules": "r1", "attempts": attempts({"retryable": False, "rules": "r1"})}, Action.HOLD, "full"),
        ({"records": (V1, replace(V2, passed=True))}, Action.START, "its data changed since v2: d2 -> d1"),
        ({"data": "d2", "records": (V1, V2), "signals": (replace(DRIFT, since=NOW - 60),)}, Action.START, "PSI 0.4"),
        ({"records": (replace(V1, rejected=True),)}, Action.NOTHING, "tried as v1, which was rejected"),
        ({"records": (replace(V1, rejected=True),), "now": NOW + 9 * DAY}, Action.NOTHING, "which was rejected"),
        ({"records": (V1, replace(V1, version="v2", rejected=True)), "signals": (DRIFT,)}, Action.START, "PSI 0.4"),
        # age, from the last run
        ({"now": NOW + 7 * DAY}, Action.START, "v1 is older than 7 d"),
        ({"now": NOW + 7 * DAY, "stale": Stale()}, Action.NOTHING, "those of v1"),
        ({"now": NOW + 7 * DAY, "records": (V1, replace(V1, version="v2", ended=NOW))}, Action.NOTHING, "those of v2"),
        ({"now": NOW - 9 * DAY}, Action.NOTHING, "v1 ended in the future, so a clock is wrong"),
        ({"records": (replace(V1, ended=NOW + 9e9),)}, Action.NOTHING, "a clock is wrong"),
        ({"records": (replace(V1, ended=9e12), replace(V1, version="v2", ended=NOW - 8 * DAY))}, Action.START, "v2 is"),
        # signals: one run for each episode
        ({"signals": (DRIFT,)}, Action.START, "the gate says drift: PSI 0.4"),
        ({"signals": (DRIFT,), "stale": Stale(age=DAY * 7)}, Action.NOTHING, "those of v1"),
        ({"signals": (replace(DRIFT, stale=False),)}, Action.NOTHING, "those of v1"),
        ({"signals": (replace(DRIFT, since=NOW - 2 * DAY),)}, Action.NOTHING, "v1 was trained since drift"),
        ({"signals": (replace(DRIFT, since=NOW + 60),)}, Action.NOTHING, "a time that is yet to come"),
        ({"signals": (replace(DRIFT, version="v0"),)}, Action.NOTHING, "drift is about v0, and v1 passed since"),
        ({"signals": (replace(DRIFT, stale=False), replace(DRIFT, name="labels"))}, Action.START, "labels: PSI 0.4"),
        # what passed against another model than the one that Git names by now
        ({"outdated": LATE}, Action.START, "v1 was held against v0, and Git names v0.5 now"),
        ({"outdated": LATE, "data": "d2"}, Action.START, "its data changed since v1: d1 -> d2"),
        ({"outdated": LATE, "ready": False, "note": "3 lack"}, Action.WAIT, "Git names v0.5 now; 3 lack"),
        ({"outdated": LATE, "records": (V1, replace(V1, version="v2"))}, Action.NOTHING, "those of v2"),
        ({"outdated": LATE, "records": (V1, replace(V2, data="d1"))}, Action.NOTHING, "tried as v2, which did not"),
        ({"outdated": LATE, "data": "d2", "records": (V1, V2)}, Action.NOTHING, "tried as v2, which did not pass"),
        # runs that this memory knows
        ({"data": "d2", "attempts": attempts({"state": Run.RUNNING})}, Action.WAIT, "a1 is under way, for v2"),
        ({"data": "d3", "attempts": attempts({"state": Run.PENDING})}, Action.WAIT, "a1 is under way"),
        ({"data": "d2", "attempts": attempts({})}, Action.WAIT, "a1 failed: disk full; once more in 50 s"),
        ({"data": "d2", "attempts": attempts({"ended": NOW - 60})}, Action.START, "d1 -> d2, attempt 2"),
        ({"data": "d2", "attempts": attempts({"ended": NOW + 9e9})}, Action.START, "attempt 2"),
        ({"data": "d2", "attempts": attempts({"ended": 0.0, "state": Run.LOST})}, Action.START, "attempt 2"),
        ({"data": "d2", "attempts": attempts({}, {"ended": 5.0})}, Action.HOLD, "disk full, after 2 attempts"),
        ({"data": "d2", "attempts": attempts({"retryable": False})}, Action.HOLD, "has to change first"),
        ({"data": "d2", "attempts": attempts({"state": Run.CANCELLED})}, Action.HOLD, "a1 was cancelled: disk full"),
        ({"data": "d3", "attempts": attempts({"retryable": False})}, Action.START, "d1 -> d3"),
        ({"data": "d2", "definition": "2", "attempts": attempts({"retryable": False})}, Action.START, "attempt 2"),
        ({"data": "d2", "attempts": attempts({"state": Run.SUCCEEDED})}, Action.NOTHING, "tried as v2, which did not"),
        ({"data": "d2", "attempts": attempts({"state": Run.SUCCEEDED, "passed": True})}, Action.NOTHING, "not in the"),
    ],
)  # fmt: skip
def test_what_is_started(changes: dict[str, object], action: Action, words: str) -> None:
    decision = decide(replace(AT_REST, **changes))
    assert words in decision.reason
    assert decision.action is action
    assert bool(decision.run and decision.version) is (action is Action.START)


def test_what_is_made_again_for_what_is_named_now_is_made_once_whatever_it_says_it_was_held_against() -> None:
    state = replace(AT_REST, outdated=LATE)
    first = decide(state)
    again = Record(first.version, "d1", "c1", passed=True, ended=NOW, run=first.run)
    blind = replace(state, records=(V1, again), outdated=Outdated(first.version, "", LATE.named))
    found = decide(blind)
    assert found.action is Action.NOTHING
    assert "v2 was held against no model, and Git names v0.5 now, although v2 was made for that" in found.reason
    other = replace(LATE, version=first.version, named="reg.local/mpg:v0.6")
    assert decide(replace(blind, outdated=other)).action is Action.START


def test_a_signal_that_a_run_with_a_wrong_clock_answered_starts_no_other() -> None:
    """The run's clock is a day behind: only its id says what it was started for."""
    state = replace(AT_REST, signals=(DRIFT,))
    first = decide(state)
    answer = Record(first.version, "d1", "c1", passed=False, ended=NOW - DAY, run=first.run)
    assert decide(replace(state, records=(V1, answer))).action is Action.NOTHING
    again = replace(DRIFT, since=NOW - 5)
    assert decide(replace(state, records=(V1, answer), signals=(again,))).action is Action.START


@pytest.mark.parametrize(
    ("taken", "version"),
    [((), "v1"), (("v1",), "v2"), (("v9", "v10", "v2"), "v11"), (("1.4.2",), "1.4.3"), (("v1", "latest"), "v2")],
)
def test_the_next_version_is_nobodys_yet(taken: tuple[str, ...], version: str) -> None:
    assert decide(replace(AT_REST, data="d2", taken=taken, records=())).version == version


def test_a_lost_runs_version_is_not_given_again() -> None:
    state = replace(AT_REST, data="d2", attempts=attempts({"state": Run.LOST, "ended": 0.0}))
    assert decide(state).version == "v3"
    assert decide(replace(state, attempts=attempts({"ended": 0.0}))).version == "v2"


def test_an_id_that_was_used_is_not_given_again() -> None:
    """A memory that was lost between two attempts knows the second one only."""
    state = replace(AT_REST, data="d2")
    first = decide(replace(state, attempts=attempts({"ended": 0.0})))
    assert first.attempt == 2
    found = decide(replace(state, attempts=attempts({"ended": 0.0, "id": first.run})))
    assert (found.attempt, found.run == first.run) == (3, False)


def test_the_same_is_called_the_same_and_anything_else_is_not() -> None:
    one = decide(replace(AT_REST, data="d2"))
    assert one == decide(replace(AT_REST, data="d2", now=NOW + 1))
    others = [
        replace(AT_REST, data="d3"),
        replace(AT_REST, data="d2", code="c2"),
        replace(AT_REST, data="d2", subject="reg.local/other"),
        replace(AT_REST, data="d2", taken=("v1", "v2")),
        replace(AT_REST, data="d2", attempts=attempts({"ended": 0.0})),
    ]
    assert len({one.run, *(decide(each).run for each in others)}) == 6


@given(st.text("abc-.XY_0", min_size=1, max_size=80), st.text("v0123._-", min_size=1, max_size=118))
def test_a_runs_id_is_a_dns_label(model: str, version: str) -> None:
    found = run_id("s", model, version, "d", "c", "first", 1)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", found)


def test_waits_double_and_end() -> None:
    assert [backoff(each) for each in (1, 2, 3, 7, 50)] == [60, 120, 240, 3600, 3600]


# -- a world

BY_HAND = ("v0", "v0.5")  # of the registry, by nobody's run


def image(version: str) -> str:
    return f"reg.local/mpg:{version}@sha256:{hashlib.sha256(version.encode()).hexdigest()}"


@dataclass
class World:
    """A backend, a registry, Git and a memory, driven by events; the memory can be lost, and clocks jump.

    `named` is what Git names, by the deployer or by people; runs that are `blind` hold a candidate against nothing.
    """

    now: float = NOW
    data: str = "d1"
    code: str = "c1"
    rules: str = "r1"
    ready: bool = True
    retries: int = 1
    signals: tuple[Signal, ...] = ()
    records: list[Record] = field(default_factory=list)
    memory: dict[str, Attempt] = field(default_factory=dict)
    backend: dict[str, Attempt] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    skew: float = 0.0  # how far the runs' clock is ahead
    named: str = "v0"
    left: set[str] = field(default_factory=set)
    against: dict[str, str] = field(default_factory=dict)
    blind: bool = False
    merges: bool = True  # what is proposed

    def deploy(self) -> deployer.Decision:
        by_hand = (Candidate(each, image(each), None, each) for each in BY_HAND)
        made = (
            Candidate(r.version, image(r.version), r.passed, r.version, self.against[r.version]) for r in self.records
        )
        left = tuple(image(each) for each in self.left - {self.named})
        decision = deployer.decide(deployer.State((image(self.named),), (*by_hand, *made), left=left))
        if decision.candidate:
            assert self.against[decision.candidate.version] == self.named, "held against another model"
            if self.merges:
                self.name(decision.candidate.version)
        return decision

    def name(self, version: str) -> None:
        self.left.add(self.named)
        self.named = version

    def state(self) -> State:
        taken = tuple(each.version for each in self.records)
        rest = (tuple(self.records), tuple(self.memory.values()), self.signals)
        about = (self.data, self.code, ALL, self.retries, self.ready, "", taken)
        return State(
            "mpg",
            "reg.local/mpg",
            self.now,
            *about,
            *rest,
            outdated=self.deploy().outdated,
            rules=self.rules,
            named=self.named,
        )

    def round(self) -> Decision:
        """What the rim does: look at the runs, decide, start; a run that is there already is not started again."""
        for name in list(self.memory):
            if not self.memory[name].state.over:
                self.memory[name] = self.backend[name]
        decision = decide(self.state())
        if decision.action is Action.START:
            name = decision.run
            asked = (name, decision.version, self.data, self.code, decision.cause)
            attempt = Attempt(*asked, Run.RUNNING, rules=self.rules)
            if name not in self.backend:
                self.started.append(name)
                self.backend[name] = attempt
            self.memory[name] = attempt
        assert sum(not each.state.over for each in self.backend.values()) <= 1, "two runs at once"
        return decision

    def end(self, state: Run, passed: bool = False, retryable: bool = False) -> None:
        for name, each in self.backend.items():
            if not each.state.over:
                ended = self.now + self.skew
                over = replace(each, state=state, ended=ended, passed=passed, retryable=retryable)
                self.backend[name] = over
                if state is Run.SUCCEEDED:
                    self.against[each.version] = "" if self.blind else self.named
                    about = (each.version, each.data, each.code, passed, ended, name)
                    self.records.append(Record(*about, rules=each.rules))

    def settle(self, passed: bool) -> None:
        """Rounds until nothing moves: it must come to rest, with a bounded number of runs."""
        for _ in range(60):
            before = len(self.started)
            decision = self.round()
            if decision.action in (Action.NOTHING, Action.HOLD):
                return
            self.end(Run.SUCCEEDED, passed)
            if len(self.started) == before:
                if not self.ready:
                    return
                self.now += 3600
        raise AssertionError(f"it never rests: {decision}")


EVENTS = st.one_of(
    st.tuples(st.just("data"), st.sampled_from(["d1", "d2", "d3"])),
    st.tuples(st.just("code"), st.sampled_from(["c1", "c2"])),
    st.tuples(st.just("rules"), st.sampled_from(["r1", "r2", ""])),
    st.tuples(st.just("ready"), st.booleans()),
    st.tuples(st.just("clock"), st.sampled_from([60.0, 3600.0, 8 * DAY, -8 * DAY, 4e9, -4e9])),
    st.tuples(st.just("skew"), st.sampled_from([0.0, -DAY, DAY, 1e9])),
    st.tuples(st.just("end"), st.sampled_from(["passed", "worse", "failed", "again", "lost", "cancelled"])),
    st.tuples(st.just("forget"), st.just("")),
    st.tuples(st.just("signal"), st.sampled_from([0.0, -60.0, 1e9, -1e9])),
    st.tuples(st.just("calm"), st.just("")),
    st.tuples(st.just("name"), st.integers(0, 3)),
    st.tuples(st.just("blind"), st.booleans()),
    st.tuples(st.just("merges"), st.booleans()),
)
ENDS = {
    "passed": (Run.SUCCEEDED, True, False),
    "worse": (Run.SUCCEEDED, False, False),
    "failed": (Run.FAILED, False, False),
    "again": (Run.FAILED, False, True),
    "lost": (Run.LOST, False, False),
    "cancelled": (Run.CANCELLED, False, False),
}


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENTS, max_size=25), st.booleans())
def test_whatever_happens_one_run_at_a_time_and_an_end(events: list[tuple[str, object]], passed: bool) -> None:
    world = World()
    for kind, value in events:
        if kind == "end":
            world.end(*ENDS[str(value)])
        elif kind == "clock":
            world.now = max(0.0, world.now + float(value))  # type: ignore[arg-type]
        elif kind == "forget":
            going = {name: replace(each, cause="") for name, each in world.backend.items() if not each.state.over}
            world.memory = going  # what goes on is found again, but not why it was started
        elif kind == "signal":
            since = world.now + float(value)  # type: ignore[arg-type]
            world.signals = (Signal("drift", True, "PSI", since, world.records[-1].version if world.records else ""),)
        elif kind == "calm":
            world.signals = ()
        elif kind == "name":
            known = [*BY_HAND, *(each.version for each in world.records if each.passed)]
            world.name(known[int(str(value)) % len(known)])
        else:
            setattr(world, kind, value)
        world.round()
        world.round()
    world.settle(passed)
    seen = [(each.data, each.code, each.cause, each.id) for each in world.backend.values()]
    assert len(world.started) == len(set(world.started)) == len(seen)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=15), st.integers(0, 3))
def test_each_cause_is_tried_no_more_often_than_it_may(events: list[tuple[str, object]], retries: int) -> None:
    """Without clocks that jump and memories that are lost, the numbers are exact."""
    world = World(retries=retries)
    for kind, value in events:
        if kind == "end":
            world.end(*ENDS[str(value)])
        elif kind in ("data", "code", "rules"):
            setattr(world, kind, value)
        world.now += 3700
        world.round()
    tries: dict[tuple[str, ...], int] = {}
    for each in world.backend.values():
        key = (each.data, each.code, each.cause, each.rules)
        tries[key] = tries.get(key, 0) + 1
    assert all(count <= retries + 1 for count in tries.values())
    vain = [(each.data, each.code, each.rules) for each in world.records if not each.passed]
    assert len(vain) == len(set(vain)), "tried again although it did not pass"
