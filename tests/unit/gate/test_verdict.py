from __future__ import annotations

import pytest

from modelpack.gate.verdict import PASSES, VERDICTS, Decision, combine

# the table of DESIGN: verdict -> confirm-traffic-increase, rollback, confirm-promotion, post-rollout, event
TABLE = {
    "pending": (403, 403, 403, 200, 200),
    "undecided": (200, 403, 403, 200, 200),
    "hold": (403, 403, 403, 200, 200),
    "accept": (200, 403, 200, 200, 200),
    "reject": (403, 200, 403, 200, 200),
}
HOOKS = ("confirm-traffic-increase", "rollback", "confirm-promotion", "post-rollout", "event")


@pytest.mark.parametrize(
    ("verdict", "hook", "status"),
    [(verdict, hook, status) for verdict, row in TABLE.items() for hook, status in zip(HOOKS, row, strict=True)],
)
def test_each_verdict_answers_each_hook(verdict: str, hook: str, status: int) -> None:
    assert (200 if verdict in PASSES[hook] else 403) == status


def test_confirm_rollout_always_passes_and_rollout_refuses_only_what_is_rejected() -> None:
    assert PASSES["confirm-rollout"] == VERDICTS
    assert set(VERDICTS) - set(PASSES["rollout"]) == {"reject"}


@pytest.mark.parametrize(
    ("checks", "under_traffic", "verdict", "final"),
    [  # a person's approval is the check `owner`
        (["accept", "accept"], 0, "accept", False),
        (["accept", "undecided"], 0, "undecided", False),
        (["pending", "undecided"], 0, "pending", False),
        (["accept", "hold"], 0, "hold", False),
        (["hold", "pending"], 0, "hold", False),
        (["hold", "reject"], 0, "reject", False),
        (["accept", "undecided"], 610, "undecided", False),
        (["accept", "undecided"], 630, "hold", True),
        (["accept", "accept"], 600, "accept", False),
        (["accept", "reject"], 600, "reject", False),
        (["accept", "accept", "owner: hold"], 630, "hold", False),
        (["accept", "accept", "owner: hold"], 9000, "hold", False),
        (["accept", "accept", "owner: accept"], 9000, "accept", False),
        (["accept", "reject", "owner: hold"], 9000, "reject", False),
        (["accept", "undecided", "owner: undecided"], 630, "hold", True),
        (["accept", "hold", "owner: undecided"], 630, "hold", True),
        (["accept", "hold", "owner: accept"], 630, "hold", True),
    ],
)
def test_verdicts_combine(checks: list[str], under_traffic: float, verdict: str, final: bool) -> None:
    given = [(f"check{number}", each.removeprefix("owner: "), "so it is") for number, each in enumerate(checks)]
    ready = all(each == "accept" for each in checks if not each.startswith("owner"))
    found = combine(Decision("undecided", ""), given, ready=ready, under_traffic=under_traffic, horizon=600)
    assert (found.verdict, found.final) == (verdict, final)
    assert "so it is" in found.reason


def test_a_rejection_latches() -> None:
    rejected = Decision("reject", "too many errors")
    assert combine(rejected, [("errors", "accept", "")], ready=True, under_traffic=0, horizon=600) == rejected


def test_after_the_horizon_evidence_may_reject_but_not_accept() -> None:
    held = Decision("hold", "no decision", final=True)
    late = {"under_traffic": 700, "horizon": 600}
    assert combine(held, [("errors", "accept", "")], ready=True, **late) == held
    assert combine(held, [("errors", "reject", "bad")], ready=False, **late).verdict == "reject"
