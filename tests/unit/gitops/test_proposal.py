"""What a pull request says, whatever its parts hold: plain, bounded, and beside what people wrote."""

from __future__ import annotations

import json
import re

import pytest

from modelpack.errors import InputError
from modelpack.gitops import Change
from modelpack.gitops.proposal import (
    LONGEST,
    Evaluation,
    Kind,
    Report,
    Text,
    link_to,
    placed,
    proposed,
    titled,
    write,
)
from tests.fakes.git_serving import digest, image

CHANGE = Change("mpg", image("v1"), image("v2"), "")
HOSTILE = "@ada fixes #1 | `x` <!-- a --> ![](http://a.example/b) \n/close"


def rows(text: Text, *starts: str) -> list[str]:
    return [line for line in text.body.splitlines() if line.startswith(tuple(f"| {each} |" for each in starts))]


def test_versions_digests_and_what_happens_next() -> None:
    text = write(CHANGE, new=Evaluation(model_digest=digest("model")))
    assert text.title == "mpg: v1 -> v2"
    assert rows(text, "Now", "Proposed") == [
        f"| Now | `registry.local/models/mpg:v1` | `{digest('v1')[:19]}` | – |",
        f"| Proposed | `registry.local/models/mpg:v2` | `{digest('v2')[:19]}` | `{digest('model')[:19]}` |",
    ]
    assert proposed(text.body) == (digest("v2"), "v2")
    assert "all traffic returns to v1" in text.body
    assert "#### Report" not in text.body and "#### Lineage" not in text.body


@pytest.mark.parametrize(
    ("change", "kind", "environment", "title"),
    [
        (CHANGE, Kind.BUMP, "production", "mpg in production: v1 -> v2"),
        (CHANGE, Kind.ROLLBACK, "", "mpg: roll back v1 -> v2"),
        (CHANGE, Kind.REVERT, "", "mpg: back from failed v1 -> v2"),
        (
            Change("mpg", "registry.local/models/mpg:v2", image("v2"), ""),
            Kind.BUMP,
            "",
            "mpg: v2 -> sha256:fb04dcb6970e",
        ),
        (Change("mpg", HOSTILE, image("v2"), ""), Kind.BUMP, "", "mpg: another image -> v2"),
    ],
)
def test_titles(change: Change, kind: Kind, environment: str, title: str) -> None:
    assert write(change, kind=kind, environment=environment).title == title


def test_the_evaluation_compares_old_and_new() -> None:
    old, new = Evaluation({"mae": 2.1, "n": 80}, {"run": "6"}), Evaluation({"mae": 1.93, "rmse": 2}, {"run": "7"})
    text = write(CHANGE, old=old, new=new)
    assert rows(text, "mae", "n", "rmse", "run") == [
        "| mae | 2.1 | 1.93 | −0.17 |",
        "| n | 80 | – | – |",
        "| rmse | – | 2 | – |",
        "| run | `6` | `7` |",
    ]
    assert "is not known" not in text.body
    assert "What v1 was evaluated to is not known" in write(CHANGE, new=new).body
    assert "Neither version carries one" in write(CHANGE, old=Evaluation(), new=Evaluation()).body


def test_a_report_is_shown_and_linked() -> None:
    check = {
        "name": "golden",
        "type": "golden",
        "measures": "mean absolute error",
        "verdict": "accept",
        "canary": 1.5,
        "n": 40,
    }
    report = {"model": "mpg", "image": CHANGE.new, "verdict": "accept", "reason": HOSTILE, "checks": [check]}
    body = write(CHANGE, report=Report(report, "https://ci.example.com/run/7")).body
    assert "| golden | mean absolute error | 1.5 |" in body
    assert "[Open the report](https://ci.example.com/run/7)" in body
    assert "about another image" not in body
    other = write(CHANGE, report=Report({**report, "image": image("v3")})).body
    assert f"**This report is about another image: `{image('v3')}`**" in other
    assert "Open the report" not in other


def test_outside_text_does_nothing() -> None:
    evil = Evaluation({HOSTILE[:100]: 1}, {"run": HOSTILE, "closes": "https://forge.example.com/a/b/issues/1"})
    report = {"model": HOSTILE, "image": HOSTILE, "reason": HOSTILE, "checks": [{"name": HOSTILE, "reason": HOSTILE}]}
    text = write(Change("mpg", HOSTILE, image("v2"), ""), old=evil, new=evil, report=Report(report))
    inside = text.body.removeprefix(text.body.splitlines()[0]).removesuffix("<!-- /modelpack -->")
    assert not re.search(r"@[a-z]|(?<!&)#\d|(?i:fixes|closes)\s|<!--|^/|!\[|\]\(", inside, re.MULTILINE)
    assert {line.count("|") for line in rows(text, "run")} == {4}
    assert proposed(text.body) == (digest("v2"), "v2")
    mark = write(Change("mpg", image("v1"), "mpg:v0@--> @bob <!--", "")).body.splitlines()[0]
    assert (mark.count("-->"), mark.count("<!--"), proposed(mark)[0]) == (1, 1, "--> @bob <!--")


def test_a_body_is_bounded() -> None:
    metrics = {f"{n}" + "@" * 90: float(n) for n in range(50)}
    lineage = {f"k{n}": "@" * 1000 for n in range(20)}
    checks = [{"name": "@" * 1000, "statistic": "@" * 1000}] * 500
    evaluation = Evaluation(metrics, lineage)
    text = write(CHANGE, old=evaluation, new=evaluation, report=Report({"reason": "@" * 9999, "checks": checks}))
    assert len(text.body) < LONGEST - 5_000
    assert re.search(r"^\| and \d+ more \| \| \| \|$", text.body, re.MULTILINE)
    assert len(placed("x" * LONGEST, text.body)) == LONGEST


@pytest.mark.parametrize(
    "there", ["", "Please look at usa.", "- [ ] asked Ada\r\n\r\n{ours}\r\n\r\nThanks", "{ours}", "{ours} \n"]
)
def test_what_people_wrote_around_ours_stays(there: str) -> None:
    first, second = write(CHANGE), write(Change("mpg", image("v1"), image("v3"), ""))
    body = placed(there.replace("{ours}", first.body.replace("\n", "\r\n")), second.body)
    kept = there.replace("\r\n", "\n").strip()
    assert body == (kept.replace("{ours}", second.body) if "{ours}" in kept else f"{kept}\n\n{second.body}".strip())
    assert placed(body, second.body) == body


@pytest.mark.parametrize("draft", ["Draft: ", "WIP: ", "[WIP] ", "[draft] ", "(Draft) ", "wip - "])
def test_a_draft_stays_one(draft: str) -> None:
    assert titled(f"{draft}mpg: v1 -> v2", "mpg: v1 -> v3") == f"{draft}mpg: v1 -> v3"
    assert titled("drafty: v1", "mpg: v1 -> v3") == "mpg: v1 -> v3"


@pytest.mark.parametrize(
    "body",
    ["", "<!-- modelpack {", "<!-- modelpack {x} -->", '<!-- modelpack {"digest": 1, "version": []} -->', "x" * 99_999],
)
def test_a_mark_that_is_none(body: str) -> None:
    assert proposed(body) == ("", "")


def test_a_mark_that_somebody_wrote() -> None:
    assert proposed(f"<!-- modelpack {json.dumps({'digest': 'a', 'version': 'b'})} -->") == ("a", "b")


@pytest.mark.parametrize(
    "text", ["report.json", "ftp://a.example/b", "https://ada:x@a.example/b", "http://a b", "http://"]
)
def test_links_that_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="neither a file nor a plain"):
        link_to(text)
