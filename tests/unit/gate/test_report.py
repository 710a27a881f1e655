"""The page as bytes: what it links, what a report embeds, and that data cannot become markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from modelpack.gate.report import ASSETS_DIR, SCRIPTS, STYLE, page_html, render_report
from tests.fakes.rollouts import SAMPLES, promoted, report

ASSETS = sorted(path.name for path in ASSETS_DIR.iterdir())
HOSTILE = "</script><script>alert(1)</script><!--<script>&amp;\"'\u2028\u2029"


def embedded(report: bytes) -> str:
    found = re.search(r'<script type="application/json" id="rollout">(.*?)</script>', report.decode(), re.DOTALL)
    assert found
    return found[1]


def test_every_asset_is_used_and_every_used_one_exists() -> None:
    assert sorted([*SCRIPTS, STYLE, "index.html"]) == ASSETS


@pytest.mark.parametrize(("rollout_id", "root"), [(None, ""), ("r1", "../")])
def test_the_live_page_links_its_assets_relative_to_its_address(rollout_id: str | None, root: str) -> None:
    html = page_html(rollout_id).decode()
    assert f'href="{root}assets/{STYLE}"' in html
    assert re.findall(r'<script src="([^"]*)"', html) == [f"{root}assets/{name}" for name in SCRIPTS]
    assert ("data-rollout" in html) == (rollout_id is not None)


def test_a_rollout_id_cannot_leave_its_attribute() -> None:
    assert b'data-rollout="&quot;&gt;&lt;b&gt;"' in page_html('"><b>')


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_report_embeds_the_rollout_unchanged(name: str) -> None:
    assert json.loads(embedded(render_report(report(SAMPLES[name])))) == report(SAMPLES[name])


def test_hostile_text_stays_data() -> None:
    rollout = {**promoted(), "model": HOSTILE, "reason": HOSTILE}
    text = embedded(render_report(report(rollout)))
    assert json.loads(text)["rollout"] == rollout
    assert not set("<>&\u2028\u2029") & set(text)


def test_a_report_needs_nothing_but_itself() -> None:
    html = render_report(report(promoted())).decode()
    assert not re.findall(r'<script[^>]* src=|<link rel="stylesheet"|@import|url\((?!#)', html)
    assert html.lower().count("</script>") == 2  # the data and the code, closed once each


def test_the_policy_allows_exactly_the_scripts_and_styles_of_the_report() -> None:
    html = render_report(report(promoted())).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy and "unsafe" not in policy[1]
    for tag in ("script", "style"):
        text = html.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def test_a_number_that_json_cannot_write_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_report(report({**promoted(), "weight": float("nan")}))


@pytest.mark.parametrize("name", ASSETS)
def test_assets_make_no_markup_from_text_and_ask_no_other_host(name: str) -> None:
    text = (ASSETS_DIR / name).read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\son\w+=", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
