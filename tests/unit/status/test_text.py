"""What a person reads: whole pages where they matter, lines where one thing changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timezone
from typing import Any

import pytest

from modelpack.status.gate import events, judgement
from modelpack.status.text import WIDTH, render, render_table
from modelpack.status.view import Event, Named, Unseen, View
from tests.fakes.scene import NOW, SEEN, V1, V2, V3, rollout

GIT = Named(V2, "manifests/mpg/deployment.yaml", "main", "3f9c2ab41d")


def view(seen: dict[str, Any] | None = None, gate: dict[str, Any] | None = None, **changes: Any) -> View:
    found = rollout(**(gate or {}))
    values = {"git": GIT, "gate": judgement(found), "events": events(found), **changes}
    return View(at=NOW, seen=replace(SEEN, **(seen or {})), **values)


def text(*arguments: Any, **changes: Any) -> str:
    return render(view(*arguments, **changes), timezone.utc)


def row(shown: str, label: str) -> str:
    """A label's text, put on one line again."""
    lines = shown.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{label} "))
    rest = lines[start + 1 :]
    end = next((number for number, line in enumerate(rest) if not line.startswith(" ")), len(rest))
    return " ".join(" ".join([lines[start][len(label) :], *rest[:end]]).split())


def test_a_rollout_under_traffic() -> None:
    assert (
        text()
        == """\
default/mpg                                                             14:13:20

Git      names v2 (222222222222), which the canary runs; main 3f9c2ab
primary  serves v1 (111111111111)
canary   runs v2 (222222222222)
phase    Progressing, 25% to the canary
next     in about 7 s: 25% -> 50%
gate     undecided: v2 (mpg-5e78eca0)
         errors  undecided  -0.136 points (-0.75 to +0.48)  n 312 / 2808
           312 of at least 500 canary requests seen
events   14:12:20 New revision detected! Scaling up mpg.default
         14:12:30 the gate refuses confirm-traffic-increase: golden: 40 examples
                  are being asked
         14:12:50 the gate passes confirm-traffic-increase
         14:12:50 Advance mpg.default canary weight 10"""
    )


@pytest.mark.parametrize(
    ("seen", "git", "says"),
    [
        ({}, {"image": V3}, "names v3 (333333333333), not yet applied; main 3f9c2ab"),
        (
            {}, {"image": V1},
            "names v1 (111111111111), which the primary serves; the canary is no longer named; main 3f9c2ab",
        ),
        ({"phase": "Succeeded", "primary_image": V2}, {}, "names v2 (222222222222), which serves; main 3f9c2ab"),
        ({"phase": "Initialized"}, {"image": V3}, "names v3 (333333333333), not yet applied; main 3f9c2ab"),
        (
            {"phase": "Failed"}, {},
            "names v2 (222222222222), which was rolled back; settle has yet to put Git right; main 3f9c2ab",
        ),
        (
            {"phase": "Failed", "canary_image": V3}, {"image": V3},
            "names v3 (333333333333), which was rolled back unjudged: a person has to look; main 3f9c2ab",
        ),
        ({"phase": "Failed", "canary_image": V1}, {"image": V1}, "names v1 (111111111111), which serves; main 3f9c2ab"),
        ({}, {"image": "registry.local/models/mpg:v2"}, "names v2, which the canary runs; main 3f9c2ab"),
        ({}, {"missing": "not asked (no --repo)"}, "not asked (no --repo)"),
    ],
)  # fmt: skip
def test_how_git_stands_to_what_runs(seen: dict[str, Any], git: dict[str, str], says: str) -> None:
    assert row(text(seen, git=replace(GIT, **git)), "Git") == says


@pytest.mark.parametrize(
    ("seen", "gate", "says"),
    [
        ({}, {}, "runs v2 (222222222222)"),
        ({"rollback": True}, {}, "went back to v2 (222222222222)"),
        ({"canary_image": ""}, {}, "is being started"),
        ({"phase": "Succeeded"}, {}, "nothing"),
        ({"phase": "Failed"}, {"state": "failed", "ended": NOW}, "nothing: v2 was rolled back"),
        ({"phase": "Failed"}, {}, "nothing: the last one was rolled back"),
        (
            {"phase": "Failed", "weight": 100, "primary_image": V2},
            {"state": "failed", "ended": NOW},
            "serves v2 (222222222222) to all: its promotion failed half-way, the primary did not get ready",
        ),
    ],
)
def test_what_the_canary_is(seen: dict[str, Any], gate: dict[str, Any], says: str) -> None:
    assert row(text(seen, gate), "canary") == says


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ({"phase": "WaitingPromotion", "weight": 0}, "WaitingPromotion, 50% to the canary"),
        (
            {"steps": (), "analysis_iterations": 5, "iterations": 2, "weight": 100, "failed_checks": 1},
            "Progressing, 100% to the canary, iteration 2 of 5, failed checks: 1 of 3",
        ),
        ({"phase": "Waiting"}, "Waiting"),
        ({"phase": "Succeeded"}, "Succeeded"),
        ({"phase": ""}, "no phase yet"),
    ],
)
def test_the_phase_has_what_flagger_counts(seen: dict[str, Any], says: str) -> None:
    assert row(text(seen), "phase") == says


def test_a_hold_says_why_and_what_to_do() -> None:
    reason = "the horizon of 600 s is over without a decision: errors: the interval is still too wide"
    shown = text({"phase": "WaitingPromotion", "weight": 0}, {"verdict": "hold", "final": True, "reason": reason})
    assert row(shown, "next") == f"waits for a person: {reason}"
    words = "modelpack gate {} mpg-5e78eca0 --gate {} --by NAME"
    forward = "kubectl port-forward -n modelpack service/modelpack-gate 8080:80"
    local = "http://127.0.0.1:8080"
    assert row(shown, "decide") == f"{forward} {words.format('approve', local)} {words.format('reject', local)}"
    there = text({}, {"verdict": "hold"}, gate_address="http://127.0.0.1:4711")
    assert row(there, "decide").startswith(words.format("approve", "http://127.0.0.1:4711"))
    assert "modelpack gate" not in text()
    assert "modelpack gate" not in text({"phase": "Failed"}, {"verdict": "hold", "ended": NOW})


def test_a_gate_that_is_missing_is_named_and_hides_nothing_else() -> None:
    shown = render(replace(view(), gate=None, gate_missing="the API server answered 503"), timezone.utc)
    assert row(shown, "gate") == "cannot be reached (the API server answered 503)"
    assert row(shown, "next") == "in about 7 s: 25% -> 50%, if the gate answers and its hooks pass"
    assert row(render(replace(view(), gate=None), timezone.utc), "gate") == "was not asked about this Canary yet"


def test_a_canary_that_starts_anew_has_no_judgement_yet() -> None:
    ended = {"verdict": "reject", "state": "failed", "ended": NOW}
    for phase, earlier in (("Initializing", True), ("Initialized", True), ("Failed", False)):
        assert ("that is an earlier one" in text({"phase": phase}, ended)) is earlier


def test_a_judgement_of_another_image_decides_nothing_now() -> None:
    shown = text({"canary_image": V3}, {"verdict": "reject", "state": "active"})
    assert row(shown, "next") == "in about 7 s: 25% -> 50%, if its hooks pass"
    assert "that is an earlier one; what the canary runs now was not judged yet" in " ".join(shown.split())


def test_a_rehearsal_that_ended_in_the_middle_goes_nowhere() -> None:
    assert row(text(stopped=True), "next").startswith("nothing under way: the rehearsal has ended")
    assert row(text({"phase": "Succeeded"}, stopped=True), "next") == "nothing under way"


def test_older_events_have_a_date_and_warnings_a_mark() -> None:
    shown = text(events=(Event(NOW - 86400, "Halt advancement", warning=True),))
    assert row(shown, "events") == "09-20 14:13 ! Halt advancement"
    refused = replace(view(), events_missing="may not be read")
    assert "the cluster's events cannot be read (may not be read)" in render(refused, timezone.utc)


EVIL = "\x1b[31mred\x1b]0;title\x07\r\n\u202eevil\x9b2J"


def test_nothing_from_a_server_reaches_the_terminal_as_control_characters() -> None:
    check = {**rollout()["checks"][0], "name": EVIL, "reason": EVIL, "verdict": EVIL, "unit": EVIL, "share": False}
    seen = {"namespace": EVIL, "phase": EVIL, "canary_image": EVIL, "primary_image": EVIL}
    gate = {"reason": EVIL, "verdict": EVIL, "id": EVIL, "image": EVIL, "checks": [check], "state": EVIL}
    spoiled = view(seen, gate, events=(Event(NOW, EVIL),), git=Named(EVIL, EVIL, EVIL, EVIL), events_missing=EVIL)
    for shown in (render(spoiled), render_table([spoiled, Unseen(EVIL, EVIL, EVIL)])):
        assert all(line.isprintable() for line in shown.split("\n"))


def test_a_page_is_never_wider_than_80_columns() -> None:
    long = "x" * 300
    check = {**rollout()["checks"][0], "name": long, "reason": long, "verdict": long, "unit": long, "share": False}
    seen = {"namespace": long, "name": long, "phase": long, "primary_image": long}
    spoiled = view(seen, {"id": long, "checks": [check]}, events=(Event(NOW, long),), git=Named(long, "", long, "c"))
    for shown in (render(spoiled), render_table([spoiled, Unseen(long, long, long)])):
        assert max(map(len, shown.splitlines())) <= WIDTH


def test_several_canaries_are_a_line_each() -> None:
    done = view({"name": "churn", "phase": "Succeeded", "primary_image": V2})
    lost = Unseen("shop", "web", "has no container 'model'")
    assert (
        render_table([done, view(), lost])
        == """\
default/churn  Succeeded         v2
default/mpg    Progressing  25%  v1 -> v2  undecided
shop/web       unknown
         shop/web: has no container 'model'"""
    )


def test_json_has_whole_images_and_what_a_program_needs() -> None:
    value = view({"phase": "WaitingPromotion", "weight": 0}).to_json()
    assert (value["phase"], value["weight"], value["steps"]) == ("WaitingPromotion", 50, [10, 25, 50])
    assert value["canary"] == {"image": V2, "version": "v2", "digest": f"sha256:{'2' * 64}"}
    assert (value["git"]["says"], value["git"]["file"]) == ("which the canary runs", "manifests/mpg/deployment.yaml")
    assert value["next"]["waitsFor"] == "gate"
    check = value["gate"]["checks"][0]
    assert (check["estimate"], check["low"], check["n"], check["nPrimary"]) == (-0.00136, -0.0075, 312, 2808)
    assert view({"phase": "Succeeded"}).to_json()["canary"] is None
    assert replace(view(), gate=None, gate_missing="no").to_json()["gate"] == {"error": "no"}
    assert view(git=Named(missing="no")).to_json()["git"] == {"error": "no"}
