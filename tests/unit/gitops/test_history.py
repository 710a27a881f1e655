"""What commits tell, as tables: from how a model stood after each to what each did."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelpack.gitops.history import Entry, Snapshot, tell
from modelpack.gitops.log import Commit, Difference, parse
from modelpack.gitops.models import Rejected

V1, V2, V3 = (f"reg.local/mpg:v{n}@sha256:{str(n) * 64}" for n in (1, 2, 3))
BAD = Rejected("", V2, "v2", "r1", "errors rose", "2026-01-02T03:04:05Z")
ADA = Commit("c", ("p",), 0, "Ada", "ada@example.com", "Ada", "ada@example.com", "a change")
PLACE = ("", 0)


def snapshot(number: int, image: str | None, *bad: Rejected, by: Commit = ADA, **said: object) -> Snapshot:
    return Snapshot(replace(by, id=f"c{number}", at=number, **said), {PLACE: image}, bad)  # type: ignore[arg-type]


def trailers(**values: str) -> str:
    return "mpg: something\n\nwords\n\n" + "".join(f"{k.replace('_', '-')}: {v}\n" for k, v in values.items())


def told(*oldest_first: Snapshot) -> list[Entry]:
    return list(tell(reversed(oldest_first)))


BUMP = trailers(Model="mpg", Version="v2", Digest=V2[-71:], Report="https://gate.example.com/r")
REVERT = trailers(
    Model="mpg", Version="v1", Digest=V1[-71:], Rejected_Digest=V2[-71:], Rollout="mpg-1a", Verdict="reject"
)
GAVE_UP = REVERT.replace("Verdict: reject", "Verdict: undecided")
OTHERS = trailers(Model="tips", Digest=V3[-71:]) + trailers(Model="mpg", Version="v2", Digest=V2[-71:])
BACK = trailers(Model="mpg", Version="v1", Digest=V1[-71:], Rolled_Back_Digest=V2[-71:])


@pytest.mark.parametrize(
    ("old", "new", "said", "why", "by"),
    [
        (V1, V2, {"message": BUMP}, "bump", "Ada"),
        (V1, V2, {"message": OTHERS}, "bump", "Ada"),
        (V1, V2, {"message": "mpg: v1 -> v2"}, "edit", "Ada"),
        (V1, V3, {"message": BUMP}, "edit", "Ada"),  # it says what it did not do
        (V2, V1, {"message": BACK}, "rollback", "Ada"),
        (V2, V1, {"message": "mpg: roll back v2 -> v1\n\n" + BACK.replace("Rolled-", "Un")}, "rollback", "Ada"),
        (V2, V1, {"message": REVERT}, "revert", "gate (mpg-1a)"),
        (V2, V1, {"message": GAVE_UP}, "revert", "Flagger (mpg-1a)"),
        (V3, V1, {"message": REVERT}, "bump", "Ada"),  # v2 is not what went
        (V1, V2, {"message": BUMP + "Promoted-From: staging\n"}, "promotion", "Ada"),
        (V1, V2, {"author": "fluxcdbot"}, "automation", "fluxcdbot"),
        (V1, V2, {"committer": "argocd-image-updater"}, "automation", "Ada"),
        (V1, V2, {"message": "Merge pull request #3", "merged": BUMP}, "bump", "Ada"),
        (V2, V1, {"message": "Merge branch 'x'", "merged": REVERT}, "revert", "Ada"),  # a person merged it
    ],
)
def test_why_and_by_whom(old: str, new: str, said: dict[str, str], why: str, by: str) -> None:
    entry, first = told(snapshot(1, old), snapshot(2, new, **said))
    assert (entry.commit, entry.at, entry.old, entry.new, entry.why, entry.by) == ("c2", 2, old, new, why, by)
    assert (first.commit, first.old, first.new) == ("c1", "", old)


def test_the_report_and_the_committer_are_told_where_there_are_any() -> None:
    entry, _ = told(snapshot(1, V1), snapshot(2, V2, message=BUMP, committer="GitHub", committer_email="g@example.com"))
    assert (entry.report, entry.committer) == ("https://gate.example.com/r", "GitHub")


def test_commits_that_change_nothing_here_are_not_told() -> None:
    assert [each.commit for each in told(snapshot(1, V1), snapshot(2, V1), snapshot(3, V1))] == ["c1"]


def test_a_revert_is_told_with_what_it_rejected_and_why() -> None:
    entry, *_ = told(snapshot(1, V2), snapshot(2, V1, BAD, message=REVERT))
    assert (entry.why, entry.rejected, entry.reason) == ("revert", (BAD,), "errors rose")


def test_rejections_alone_are_told_too() -> None:
    lifted, rejected, _ = told(
        snapshot(1, V1), snapshot(2, V1, BAD), snapshot(3, V1, message=trailers(Reason="was ok"))
    )
    assert (rejected.why, rejected.commit, rejected.rejected, rejected.reason) == (
        "reject",
        "c2",
        (BAD,),
        "errors rose",
    )
    assert (lifted.why, lifted.commit, lifted.lifted, lifted.reason) == ("unreject", "c3", (BAD,), "was ok")
    assert (lifted.old, lifted.new) == ("", "")


def test_what_cannot_be_read_for_a_while_is_told_by_the_commit_that_mended_it() -> None:
    entries = told(snapshot(1, V1), snapshot(2, None), snapshot(3, None), snapshot(4, V2))
    assert [(each.commit, each.old, each.new) for each in entries] == [("c4", V1, V2), ("c1", "", V1)]
    unread = replace(snapshot(2, V1), rejected=None)
    assert [each.commit for each in told(snapshot(1, V1, BAD), unread, snapshot(3, V1, BAD))] == ["c1"]


def test_environments_and_targets_are_told_apart_and_alike_ones_once() -> None:
    def stood(number: int, **images: str) -> Snapshot:
        places = {(key[:-1], int(key[-1])): image for key, image in images.items()}
        return Snapshot(replace(ADA, id=f"c{number}", at=number), places)

    entries = told(
        stood(1, staging0=V1),
        stood(2, staging0=V1, staging1=V1),  # one more Deployment of what was named already
        stood(3, staging0=V2, staging1=V2),
        stood(4, staging0=V2, staging1=V2, production0=V1),
        stood(5, staging0=V2, staging1=V3, production0=V2),
    )
    assert [(each.commit, each.environment, each.old, each.new) for each in entries] == [
        ("c5", "staging", V2, V3),
        ("c5", "production", V1, V2),
        ("c4", "production", "", V1),
        ("c3", "staging", V1, V2),
        ("c1", "staging", "", V1),
    ]


def test_a_tag_alone_is_not_told_beside_the_same_with_its_digest() -> None:
    lone = [each.partition("@")[0] for each in (V1, V2)]
    stages = [
        Snapshot(replace(ADA, id=f"c{number}"), {("", 0): lone[number], ("", 1): image})
        for number, image in enumerate((V1, V2))
    ]
    assert [(each.old, each.new) for each in told(*stages)] == [(V1, V2), ("", V1)]


def test_gits_log_is_read_whatever_is_in_it() -> None:
    zero, one, two = "0" * 40, "1" * 40, "2" * 40
    data = (
        f"{two}\0{one} {zero}\x0012\0A\0a@x\0C\0c@x\0subject\n\n:body\n\0\n:100644 100644 {one} {two} M\0a\nb\0"
        f":100644 100644 {one} {one} R100\0old\0new\0{one}\0\x0011\0A\0a@x\0C\0c@x\0first\n\0\n"
        f":000000 100644 {zero} {one} A\0a\0:100644 000000 {one} {zero} D\0b\0"
    )
    (second, changed), (first, added) = parse(data.encode())
    assert (second.id, second.parents, second.at, second.message) == (two, (one, zero), 12, "subject\n\n:body")
    assert changed == (Difference("a\nb", one, two), Difference("new", one, one, "old"))
    assert (first.parents, first.author, first.committer_email) == ((), "A", "c@x")
    assert added == (Difference("a", "", one), Difference("b", one, ""))
    assert list(parse(b"")) == []
