from __future__ import annotations

from dataclasses import replace

import pytest

from modelpack.errors import RefusedError
from modelpack.gate.rollouts import Approval, Call, Rollout, approve, bind, current, decision, observe
from modelpack.gate.target import Endpoint, Target
from modelpack.gate.verdict import ACCEPT, REJECT, Decision, combine

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def target(canary: str = B, primary: str = A, phase: str = "Progressing", weight: float = 10) -> Target:
    return Target(
        "default",
        "mpg",
        phase,
        weight,
        "1",
        Endpoint("u", f"r/m:v@{canary}"),
        Endpoint("u", f"r/m:v@{primary}"),
        "",
        1,
        1,
    )


def call(hook: str = "confirm-traffic-increase", checksum: str = "c1") -> Call:
    return Call(hook, "default", "mpg", "Progressing", checksum)


def rollout(
    checksum: str = "c1", digest: str = B, state: str = "active", bound: float = 1, weight: float = 0
) -> Rollout:
    texts = {
        "namespace": "default",
        "name": "mpg",
        "model": "mpg",
        "image": "i",
        "primary_image": "p",
        "phase": "Progressing",
    }
    return Rollout(
        id=f"{checksum}-{bound}",
        checksum=checksum,
        digest=digest,
        state=state,
        bound=bound,
        weight=weight,
        started=1,
        horizon=60,
        alpha=0.05,
        **texts,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("hook", "mints"),
    [
        ("confirm-traffic-increase", True),
        ("rollback", True),
        ("pre-rollout", True),
        ("confirm-promotion", True),
        ("confirm-rollout", False),
        ("event", False),
        ("rollout", False),
        ("post-rollout", False),
    ],
)
def test_only_these_hooks_mint(hook: str, mints: bool) -> None:
    assert bind(call(hook), [], target(), 2).mint is mints


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Initialized"])
def test_nothing_is_minted_without_an_analysis(phase: str) -> None:
    found = bind(call(), [], target(phase=phase), 2)
    assert not found.mint and phase in found.reason


def test_a_known_checksum_finds_its_rollout_and_never_mints_again() -> None:
    known = rollout()
    assert bind(call(), [known], target(), 2).rollout == known
    assert not bind(call(), [known], target(canary=C), 2).mint


def test_a_new_checksum_mints_and_supersedes() -> None:
    found = bind(call(checksum="c2"), [rollout()], target(canary=C), 2)
    assert found.mint and [each.state for each in found.changed] == ["superseded"]


def test_a_checksum_that_comes_back_in_the_same_analysis_brings_its_rollout_back() -> None:
    first, second = rollout("c1", B, "superseded", bound=1), rollout("c2", C, bound=2)
    found = bind(call(checksum="c1"), [first, second], target(canary=B), 3)
    assert not found.mint and found.rollout and found.rollout.id == first.id and found.rollout.state == "active"
    assert {each.id: each.state for each in found.changed} == {first.id: "active", second.id: "superseded"}


@pytest.mark.parametrize(
    ("before", "canary", "after", "verdict"),
    [
        ("active", B, "active", "accept"),
        ("active", C, "superseded", "hold"),
        ("active", A, "withdrawn", "reject"),
        ("superseded", A, "withdrawn", "reject"),
        ("superseded", B, "superseded", "hold"),
        ("withdrawn", B, "superseded", "hold"),
        ("withdrawn", C, "superseded", "hold"),
    ],
)
def test_a_verdict_counts_for_its_own_digest_only(before: str, canary: str, after: str, verdict: str) -> None:
    known = replace(rollout(state=before), decision=Decision("accept", ""))
    (seen,) = observe([known], target(canary=canary), 2)
    assert (seen.state, decision(seen).verdict) == (after, verdict)


def test_the_canary_becoming_the_primary_is_no_withdrawal() -> None:
    (seen,) = observe([rollout()], target(canary=B, primary=B, phase="Promoting"), 2)
    assert seen.state == "active"


@pytest.mark.parametrize(
    ("phase", "before", "after"),
    [
        ("Succeeded", "active", "promoted"),
        ("Failed", "active", "failed"),
        ("Failed", "superseded", "superseded"),
        ("Failed", "withdrawn", "withdrawn"),
        ("Initialized", "active", "superseded"),
    ],
)
def test_a_terminal_phase_ends_it(phase: str, before: str, after: str) -> None:
    canary = {"active": B, "superseded": C, "withdrawn": A}[before]
    (seen,) = observe([rollout(state=before)], target(canary=canary, phase=phase), 2)
    assert (seen.state, seen.ended) == (after, 2)


def test_a_retry_after_the_end_is_minted_anew() -> None:
    assert bind(call(), [], target(), 3).mint  # ended rollouts are not handed in


@pytest.mark.parametrize(
    ("phase", "weight", "seen"),
    [("Progressing", 30, 30), ("Progressing", 0, 0), ("WaitingPromotion", 0, 50), ("WaitingPromotion", 40, 40)],
)
def test_the_weight_is_the_last_known_one_where_the_status_forgets_it(phase: str, weight: float, seen: float) -> None:
    (found,) = observe([rollout(weight=50)], target(phase=phase, weight=weight), 2)
    assert found.weight == seen


def test_time_under_traffic_starts_with_the_first_weight() -> None:
    (idle,) = observe([rollout()], target(weight=0), 5)
    assert idle.under_traffic(100) == 0
    (busy,) = observe([idle], target(weight=10), 10)
    assert busy.under_traffic(100) == 90


def test_calls_are_about_the_rollout_bound_last() -> None:
    assert current([]) is None
    assert current([rollout("c1", bound=1), rollout("c2", bound=3)]) == rollout("c2", bound=3)


@pytest.mark.parametrize(
    ("phase", "primary"), [("Failed", f"r/m:v@{B}"), ("Succeeded", "p"), ("Promoting", "p"), ("Initialized", "p")]
)
def test_after_a_failure_the_primary_is_what_runs_then(phase: str, primary: str) -> None:
    (seen,) = observe([rollout()], target(primary=B, phase=phase), 2)
    assert seen.primary_image == primary


@pytest.mark.parametrize("final", [False, True])
def test_a_person_ends_a_hold_for_good(final: bool) -> None:
    held = replace(rollout(), decision=Decision("hold", "no data", final))
    decided = approve(held, Approval(True, "ada", "seen it in staging"))
    assert decided.decision == Decision("accept", "approved by ada: seen it in staging", final=True)
    for checks, verdict in (([("errors", "hold", "no data")], ACCEPT), ([("errors", "reject", "bad")], REJECT)):
        assert combine(decided.decision, checks, ready=False, under_traffic=999, horizon=60).verdict == verdict
    assert approve(held, Approval(False, "ada")).decision == Decision("reject", "rejected by ada")


@pytest.mark.parametrize("verdict", ["pending", "undecided", "accept"])
def test_a_person_may_reject_at_any_time_but_approves_only_what_is_held(verdict: str) -> None:
    known = replace(rollout(), decision=Decision(verdict, ""))
    assert approve(known, Approval(False, "ada")).decision.verdict == "reject"
    with pytest.raises(RefusedError, match=f"not held but {verdict}"):
        approve(known, Approval(True, "ada"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"decision": Decision("reject", "")}, "rejected, and that stays"),
        ({"decision": Decision("hold", ""), "state": "superseded"}, "over: it is superseded"),
        ({"decision": Decision("hold", ""), "ended": 2.0, "phase": "Failed"}, "phase Failed"),
    ],
)
def test_nothing_is_decided_about_what_is_over(changes: dict[str, object], problem: str) -> None:
    for agrees in (True, False):
        with pytest.raises(RefusedError, match=problem):
            approve(replace(rollout(), **changes), Approval(agrees, "ada"))  # type: ignore[arg-type]
