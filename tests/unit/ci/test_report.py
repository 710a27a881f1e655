"""A report as Markdown: what people read, and nothing that a forge would act on."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.errors import InputError
from modelpack.gitops.report import LONGEST, markdown, model_of, parse, plain, readable, table

DIGEST = "@sha256:" + "0" * 64
ERRORS: dict[str, Any] = {
    "name": "errors",
    "type": "proportion",
    "measures": "share of bad requests",
    "share": True,
    "counts": "requests",
    "unit": "",
    "verdict": "reject",
    "estimate": 0.2219,
    "low": 0.0251,
    "high": 0.4186,
    "n": 77,
    "min_sample": 500,
    "canary": 0.2219,
    "primary": 0.0,
    "limit": None,
}
GOLDEN = ERRORS | {
    "name": "golden",
    "type": "golden",
    "measures": "mean absolute error on the golden set",
    "share": False,
    "counts": "examples",
    "verdict": "accept",
    "estimate": -0.741,
    "low": -1.2,
    "high": -0.3,
    "n": 40,
    "min_sample": 40,
    "canary": 1.882,
    "primary": 2.623,
    "limit": 3.0,
}
SLOW = ERRORS | {"name": "latency", "measures": "share of answers slower than 100 ms", "verdict": "undecided"}
ROLLOUT: dict[str, Any] = {
    "model": "mpg",
    "image": f"registry.example.com/models/mpg:v4{DIGEST}",
    "primary_image": f"registry.example.com/models/mpg:v2{DIGEST}",
    "state": "failed",
    "verdict": "reject",
    "reason": "errors: the canary has more errors",
    "checks": [GOLDEN, ERRORS, SLOW],
}
REHEARSAL = {
    "result": "rolled back",
    "model": "mpg",
    "commit": "0d7a6262a989" + "0" * 28,
    "image": ROLLOUT["image"],
    "primaryImage": ROLLOUT["primary_image"],
    "traffic": {"sent": 375, "failed": 12},
    "seconds": 3.4,
}


def test_a_rehearsals_report_as_people_read_it() -> None:
    text = markdown({"rehearsal": REHEARSAL, "rollout": ROLLOUT}, "https://ci.example.com/runs/7")
    assert text.splitlines() == [
        "### Model mpg: v2 → v4",
        "",
        "**Rehearsal: rolled back**: errors: the canary has more errors",
        "",
        "| Check | What | Canary | Primary | Difference | Of | Verdict |",
        "|:--|:--|--:|--:|--:|--:|:--|",
        "| golden | mean absolute error on the golden set "
        "| 1.88 | 2.62 | −0.74 (−1.20 to −0.30) | 40 examples | ✅ accepted |",
        "| errors | share of bad requests "
        "| 22.2 % | 0 % | +22.2 points (+2.5 to +41.9) | 77 of 500 requests | ❌ rejected |",
        "| latency | share of answers slower than 100 ms "
        "| 22.2 % | 0 % | +22.2 points (+2.5 to +41.9) | 77 of 500 requests | ⏳ undecided |",
        "",
        "rehearsed commit 0d7a6262a989 · 375 requests, 12 failed · 3.4 s · [more](https://ci.example.com/runs/7)",
    ]


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        ({}, "**Rolled back**"),
        ({"state": "promoted", "verdict": "accept"}, "**Promoted**"),
        ({"state": "failed", "verdict": "accept"}, "**Failed**"),
        ({"state": "active", "verdict": "hold"}, "**✋ held**"),
        ({"state": "strange", "verdict": 7}, "**No verdict**"),
    ],
)
def test_the_gates_rollout_alone(change: dict[str, Any], ending: str) -> None:
    assert ending in markdown(ROLLOUT | change)


@pytest.mark.parametrize(
    ("change", "cells"),
    [
        ({"type": "latency", "share": False, "unit": "ms", "high": None}, "+0.22 ms (+0.03 or more) |"),
        ({"type": "latency", "share": False, "unit": "ms", "low": None}, "+0.22 ms (+0.42 or less) |"),
        ({"type": "slo"}, "| 22.2 % (2.5 to 41.9) | 0 % | – |"),
        ({"type": "drift", "share": False, "low": None, "high": None, "canary": None}, "| – | 0 | 0.22 |"),
        ({"type": "shadow"}, "| 22.2 % (2.5 to 41.9) | 77 of 500"),
    ],
)
def test_a_number_that_is_no_difference_or_open_on_one_side(change: dict[str, Any], cells: str) -> None:
    assert cells in table({"checks": [ERRORS | change]})


def test_the_budget_and_the_digest_are_said() -> None:
    text = markdown(ROLLOUT | {"id": "mpg-1", "budget": "Wrong in at most 5 % of rollouts."})
    digest = ROLLOUT["image"].partition("@")[2]
    assert f"Rollout mpg-1 of {digest.replace(':', ':&#8203;')}. Wrong in at most 5 % of rollouts." in text


def test_a_first_version_has_no_checks() -> None:
    first = REHEARSAL | {"result": "initialized", "primaryImage": REHEARSAL["image"]}
    text = markdown({"rehearsal": first, "rollout": None})
    assert text.startswith("### Model mpg: v4\n\n**Rehearsal: initialized**\n")
    assert "|" not in text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a | b\nc", "a &#124; b c"),
        ("</td><img src=x onerror=alert(1)>", "&#60;/td&#62;&#60;img src&#61;x onerror&#61;alert(1)&#62;"),
        ("<!-- modelpack report mpg -->", "&#60;!&#8203;-- modelpack report mpg --&#62;"),
        ("@everyone", "@&#8203;everyone"),
        ("fixes #1", "f&#8203;ixes #&#8203;1"),
        ("Closes GH-7 closed resolved", "C&#8203;loses GH&#8203;-7 c&#8203;losed r&#8203;esolved"),
        ("https://evil.example www.evil.example", "https:&#8203;//evil.example www&#8203;.evil.example"),
        ("[x](y) **b** `c` _d_", "&#91;x&#93;(y) &#42;&#42;b&#42;&#42; &#96;c&#96; &#95;d&#95;"),
        ("\u202egnp.exe\u200b\x1b[31m", "gnp.exe &#91;31m"),
        ("prefix, a:fix", "prefix, a:&#8203;f&#8203;ix"),
        ("x" * 50, "x" * 39 + "…"),
    ],
)
def test_text_from_outside_does_nothing(hostile: str, shown: str) -> None:
    assert plain(hostile, 40) == shown


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ('the primary\'s: 1.25 % of sha256:1a & "b" = c', 'the primary\'s: 1.25 % of sha256:1a & "b" = c'),
        ("origin_eu is p < 0.05, _b_", "origin_eu is p < 0.05, \\_b\\_"),
        (
            "a | b <b> **c** `d` [e](f) ~g~ &lt; \\h",
            "a \\| b \\<b> \\*\\*c\\*\\* \\`d\\` \\[e](f) \\~g\\~ \\&lt; \\\\h",
        ),
        ("@all fixes #1", "@\u2060all fix\u2060es #\u20601"),
    ],
)
def test_a_terminal_and_a_commit_message_get_plain_words(reason: str, shown: str) -> None:
    assert readable(ROLLOUT | {"reason": reason}).splitlines()[2] == f"**Rolled back**: {shown}"


def test_no_field_escapes() -> None:
    bad = '<!-- m --> @all fixes #1\n/close\n| x | <b> ![a](https://e.example/) & ~bug "'
    checks = [GOLDEN | dict.fromkeys(("name", "unit", "measures", "counts", "verdict", "type"), bad)]
    rollout = ROLLOUT | dict.fromkeys(("model", "image", "primary_image", "reason", "state", "verdict"), bad)
    rehearsal = REHEARSAL | dict.fromkeys(("result", "model", "image", "primaryImage", "commit"), bad)
    for report in (rollout | {"checks": checks}, {"rehearsal": rehearsal, "rollout": rollout | {"checks": checks}}):
        text = markdown(report, "https://e.example/) @all")
        assert_inert(text)
        assert "/c&#8203;lose" in text, "shown"


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "https://e.example/)x", "https://u@e.example/", "", "http://a b"]
)
def test_what_is_no_plain_link_is_left_out(link: str) -> None:
    assert "[more]" not in markdown(ROLLOUT, link)


def test_a_number_begins_no_list() -> None:
    assert "−1e+09 s" in markdown({"rehearsal": REHEARSAL | {"seconds": -1e9}, "rollout": None})


def test_a_thousand_checks_are_cut() -> None:
    text = markdown(ROLLOUT | {"checks": [ERRORS | {"name": "<" * 100, "measures": "@a " * 40}] * 1000})
    assert len(text) <= LONGEST
    assert re.search(r"\| and \d+ more \|", text)
    assert table({"checks": []}) == table({}) == ""


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.sampled_from("a@#/|<!`*\n:1ixf ~[]()")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted({*ERRORS, "x"})), inner),
    max_leaves=20,
)
CHECKS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(ERRORS, JSON)), max_size=4)
ROLLOUTS = st.fixed_dictionaries({"checks": CHECKS}, optional=dict.fromkeys({*ROLLOUT} - {"checks"}, JSON))


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"rollout": ROLLOUTS, "rehearsal": st.fixed_dictionaries({}, optional=dict.fromkeys(REHEARSAL, JSON))}
    )
)
def test_any_json_is_shown_inert(report: dict[str, Any]) -> None:
    text = markdown(parse(json.dumps(report).encode(), "report.json"))
    assert len(text) <= LONGEST
    assert_inert(text)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "report.json: is not JSON"),
        (b"[" * 100_000, "report.json: is not JSON"),
        (b"\xff", "report.json: is not JSON"),
        (b"[1]", "report.json: is not a report"),
        (b'{"rollout": null}', "report.json: is not a report"),
        (b'{"rehearsal": 7}', "report.json: is not a report"),
    ],
)
def test_what_is_no_report_is_said(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(data, "report.json")


def test_whose_report_it_is() -> None:
    assert (model_of(ROLLOUT), model_of({"rehearsal": REHEARSAL}), model_of({"rollout": {"model": 7}})) == (
        "mpg",
        "mpg",
        "",
    )


def assert_inert(text: str) -> None:
    """No markup but our own, no mention, reference, link, closing word or quick action."""
    ours = re.sub(r"&#\d+;", "", text).replace("**", "").removeprefix("### ")
    assert not re.search(r"[<>`_*\[\]\\~^$]", ours)
    assert not re.search(r"[@#!]\w|://|www\.", re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), text))
    assert not re.search(r"\b(clos|fix|resolv)(e|es|ed|ing)?\b", text, re.IGNORECASE)
    for line in text.splitlines():
        assert re.match(r"###|\*\*|\|  ?|\|:|rehearsed|\d|$|−|–", line), line
        assert not line.startswith("|") or line.count("|") == 8
