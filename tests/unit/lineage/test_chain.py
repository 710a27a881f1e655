"""A version's chain as steps, as text and as a page; whatever others wrote into its records."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from modelpack.lineage import Chain, Commit, Version, as_html, as_text, put_together
from modelpack.quality.evaluation import Row
from modelpack.reference import Reference
from tests.fakes import versions

IMAGE = Reference.parse(f"registry.example.com/models/mpg:v2@sha256:{'0' * 63}1")
WHOLE = Version(
    "v2",
    IMAGE,
    model_digest=f"sha256:{'0' * 63}2",
    evaluation=versions.evaluation("v2"),
    passed=True,
    origin=versions.origin("v2"),
    rollouts=(versions.rollout("mpg-1", IMAGE, verdict="reject"),),
    model="mpg",
)
NAMED = Commit("c0ffee", 1795319000.0, "production", "bump", "Deployer", report="https://gate.example.com/rollouts/1")
HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script>\"'\x1b[2J\n</style>"


def test_the_steps_in_order() -> None:
    later = versions.rollout("mpg-2", IMAGE, started=1795400000.0)
    chain = put_together(WHOLE, (), [NAMED], [later])
    assert [(each.kind, each.title, each.state) for each in chain.steps] == [
        ("data", f"dvc:{'a' * 32}", "none"),
        ("code", versions.origin("v2").commit, "none"),
        ("run", "mpg-v2", "none"),
        ("evaluation", "passed", "good"),
        ("image", str(IMAGE), "none"),
        ("commit", "c0ffee", "none"),
        ("rollout", "mpg-1", "none"),
        ("verdict", "reject, failed", "bad"),
        ("rollout", "mpg-2", "none"),
        ("verdict", "accept, promoted", "good"),
    ]
    assert ("mae, held-out", "1.9, was 2.1 (-0.5 to +0.1)") in chain.steps[3].facts
    assert chain.steps[2].links == (("notebook", "https://runs.example.com/mpg-v2/notebook.html"),)
    assert chain.steps[5].links == (("report", "https://gate.example.com/rollouts/1"),)


def test_what_the_gate_says_goes_before_what_is_recorded() -> None:
    chain = put_together(WHOLE, (), (), [versions.rollout("mpg-1", IMAGE)])
    assert [each.title for each in chain.steps if each.kind == "verdict"] == ["accept, promoted"]


def test_what_is_not_known_is_said() -> None:
    chain = put_together(Version("v1", IMAGE))
    assert [each.title for each in chain.steps] == [
        "not recorded",
        "not recorded",
        "not recorded",
        "not recorded",
        str(IMAGE),
        "not found in Git's history",
        "no rollout is recorded: modelpack reconcile --gate URL records those that are over",
        "none yet",
    ]
    failed = put_together(Version("v3", None, evaluation=versions.evaluation("v3", passed=False), passed=False))
    assert [each.title for each in failed.steps[2:5]] == ["mpg-v3", "did not pass", "not packaged"]
    assert failed.steps[3].state == "bad"


def hostile() -> Chain:
    evaluation = replace(
        versions.evaluation("v2", reason=HOSTILE, data=HOSTILE),
        rows=(Row(HOSTILE, HOSTILE, HOSTILE, 3, 1.0, 2.0, 1.0, 0.5, 1.5, HOSTILE, HOSTILE),) * 600,
    )
    origin = versions.origin("v2", run=HOSTILE, html="javascript:alert(1)", notebook="http://[", reason=HOSTILE * 1000)
    rollout = {"id": HOSTILE, "checks": [7, {"name": HOSTILE}, None], "started": "x", "ended": 1e300, "verdict": []}
    version = replace(WHOLE, version=HOSTILE, model=HOSTILE, evaluation=evaluation, origin=origin, rollouts=(rollout,))
    return put_together(
        version, [HOSTILE], [replace(NAMED, by=HOSTILE, report="data:text/html,x")], [{}, {"checks": {}}]
    )


def test_text_of_others_cannot_move_a_terminal() -> None:
    assert all(line.isprintable() for line in as_text(hostile()).splitlines())
    assert max(map(len, as_text(hostile()).splitlines())) < 400


def test_a_chain_goes_through_json_and_stays_small() -> None:
    text = json.dumps(hostile().to_json(), allow_nan=False)
    assert len(text) < 1 << 20
    value = json.loads(text)
    assert value["steps"][0]["kind"] == "data"
    assert len(value["evaluation"]) == 500
    assert len(json.dumps(put_together(WHOLE).to_json())) < 16 << 10


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


def test_a_page_of_hostile_records_has_no_script() -> None:
    seen = _Seen()
    seen.feed(as_html(hostile()).decode())
    assert not seen.tags & {"script", "img", "iframe", "link"}
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert [value for name, value in seen.attributes if name in ("href", "src")] == []
    (policy,) = [value for name, value in seen.attributes if name == "content" and "default-src" in (value or "")]
    assert policy and policy.startswith("default-src 'none'; style-src 'sha256-")


@pytest.mark.parametrize(
    ("url", "linked"),
    [
        ("https://runs.example.com/1", True),
        ("http://runs.example.com/1", True),
        ("s3://runs/1", False),
        ("javascript:alert(1)", False),
        ("https:", False),
        ("//runs.example.com", False),
        ("", False),
    ],
)
def test_only_web_addresses_are_links(url: str, linked: bool) -> None:
    version: Any = replace(WHOLE, origin=versions.origin("v2", html=url, notebook=""))
    assert bool(put_together(version).steps[2].links) is linked
