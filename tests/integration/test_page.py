"""The page in a real browser, in front of a stand-in for the gate's API, and as a report from the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpack.gate.report import render_report
from tests.fakes import rollouts
from tests.fakes.page import Gate, standing_in, state, text

TYPES = {".css": "text/css", ".js": "text/javascript"}
HOSTILE = "<img src=x onerror=window.owned=1><script>window.owned=1</script>"


@pytest.fixture
def gate() -> Iterator[Gate]:
    with standing_in() as server:
        yield server


BADGES = {
    "pending": (state("pending"), "Pending", "0 %", "golden, before any traffic"),
    "undecided": (state("undecided"), "Undecided", "30 %", "errors: 36 more requests; latency: 1,736 more requests"),
    "hold": (state("undecided", verdict="hold"), "On hold", "30 %", "data, or a person"),
    "final hold": (state("held"), "On hold", "50 %", "a person: this hold does not end by itself"),
    "accept": (state("undecided", verdict="accept"), "Accepted", "30 %", "Flagger to promote it"),
    "reject": (state("undecided", verdict="reject"), "Rejected", "30 %", "Flagger to roll it back"),
    "promoted": (state("promoted"), "Promoted", "100 %", ""),
    "rolled back": (state("rejected-traffic"), "Rolled back", "0 %", ""),
    "not settled": (
        state("rejected-golden"),
        "Rolled back",
        "0 %",
        "settle: Git still has to name what the primary serves",
    ),
    "failed": (state("rejected-traffic", verdict="undecided"), "Failed", "0 %", ""),
    "superseded": (state("promoted", state="superseded"), "Superseded", "0 %", ""),
    "withdrawn": (state("promoted", state="withdrawn"), "Withdrawn", "0 %", ""),
}


@pytest.mark.parametrize("case", BADGES)
def test_the_head_says_verdict_share_and_what_it_waits_for(gate: Gate, open_page: Any, case: str) -> None:
    rollout, badge, share, waiting = BADGES[case]
    gate.rollouts = {"r": rollout}
    page = open_page(f"{gate.url}/rollouts/r")
    assert text(page, ".badge.big") == badge
    assert page.locator(".badge.big svg").count() == 1
    assert text(page, ".traffic b") == share
    assert page.locator(".waiting").is_visible() == bool(waiting)
    assert page.text_content(".waiting").removeprefix("Waiting for ") == waiting
    assert page.text_content(".reason").strip() == rollout["reason"]
    assert page.title().startswith(f"{badge}: mpg")


def test_a_comparison_says_what_its_numbers_are(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/undecided")
    card = text(page, "#check-latency")
    for words in ("Share of answers slower than 100 ms", "2.1 %", "2.4 %", "0.0 points", "−9.9 to +9.8", "+8 points"):
        assert words in card
    assert "264 canary requests, at least 2,000 needed to accept" in card
    assert "allowed is +8 points" in page.get_attribute("#check-latency svg.chart", "aria-label")


def test_each_check_that_is_waited_for_has_a_line(gate: Gate, open_page: Any) -> None:
    errors, latency = "errors: 12 of 500 are there; seen: 0 %; at most 5 %; ", "latency: 9 of 500 are there; seen: 1 %"
    gate.rollouts = {"r": state("undecided", reason=errors + latency)}
    page = open_page(f"{gate.url}/rollouts/r")
    assert page.locator(".reason span").all_text_contents() == [errors, latency]


def test_a_check_that_had_no_data_before_the_end_was_not_reached(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/rejected-golden")
    assert text(page, "#check-errors .badge") == "Not reached"
    assert "errors: not reached" in text(page, ".chips")


def test_the_golden_set_shows_limits_and_worst_examples(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/rejected-golden")
    card = text(page, "#check-golden")
    for words in ("Mean absolute error", "17.6 mpg", "2.41 mpg", "+15.2 mpg", "at most 3 mpg", "79 of 79"):
        assert words in card
    assert page.locator("#check-golden [aria-label$='worst examples'] tbody tr").count() == 20
    segments = page.locator("#check-golden [aria-label$='by part'] tbody tr").all_inner_texts()
    assert [each.split()[:2] for each in segments] == [[name, "Rejected"] for name in ("europe", "japan", "usa")]
    assert "22" in segments[0] and "+14.9 to +15.6" in segments[0]
    assert "primary + margin 2.71 mpg" in page.get_attribute("#check-golden .ruler", "aria-label")


def test_the_page_follows_a_rollout_to_its_end_without_a_reload(gate: Gate, open_page: Any) -> None:
    now = time.time()
    gate.rollouts = {"r": rollouts.undecided(40, now - 40)}
    page = open_page(f"{gate.url}/rollouts/r")
    page.evaluate("window.same = document.querySelector('#check-errors')")
    assert text(page, ".traffic b") == "30 %"
    gate.rollouts = {"r": rollouts.undecided(50, now - 50)}
    page.wait_for_selector(".traffic b:text-is('40 %')")
    gate.rollouts = {"r": rollouts.promoted(now - 92)}
    page.wait_for_selector(".badge.big:has-text('Promoted')")
    assert text(page, "#link") == "Ended"
    assert page.evaluate("window.same === document.querySelector('#check-errors')"), "cards are updated in place"
    asked = len(gate.asked)
    page.wait_for_timeout(1500)
    assert len(gate.asked) == asked, "nothing is asked after the end"


def test_an_unknown_rollout_is_said(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/none", complain=False)
    assert text(page, "#link") == "The gate knows no such rollout"


def test_hostile_strings_are_only_text(gate: Gate, open_page: Any, tmp_path: Path) -> None:
    rollout = rollouts.rejected_golden()
    for key in ("model", "name", "namespace", "phase", "reason", "settled_note", "image", "primary_image"):
        rollout[key] = HOSTILE
    rollout["checks"] = [{**check, "name": HOSTILE + check["name"], "reason": HOSTILE} for check in rollout["checks"]]
    rollout["events"] = [{**event, "message": HOSTILE, "hook": HOSTILE} for event in rollout["events"]]
    rollout["golden"] = [{**row, "segment": HOSTILE, "error": HOSTILE} for row in rollout["golden"]]
    gate.rollouts = {"r": {**rollout, "id": "r"}}
    report = tmp_path / "report.html"
    report.write_bytes(render_report(rollouts.report(rollout)))
    for address in (f"{gate.url}/rollouts/r", report.as_uri(), gate.url):
        page = open_page(address)
        if address != gate.url:
            page.click(".log summary")
            assert text(page, "h1") == HOSTILE
        page.wait_for_timeout(200)
        assert page.evaluate("window.owned") is None
        assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("name", ["", *rollouts.SAMPLES])
def test_nothing_scrolls_sideways_on_a_phone(gate: Gate, open_page: Any, name: str) -> None:
    page = open_page(f"{gate.url}/rollouts/{name}" if name else gate.url, "phone", color_scheme="dark")
    if name:
        page.click(".log summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("name", rollouts.SAMPLES)
def test_a_report_opens_from_the_disk_and_shows_the_same(gate: Gate, open_page: Any, tmp_path: Path, name: str) -> None:
    ended = state(name, ended=rollouts.STARTED + 130)  # a running one goes on only on the live page
    gate.rollouts = {name: ended}
    report = tmp_path / "report.html"
    report.write_bytes(render_report(rollouts.report(ended)))
    live, saved = open_page(f"{gate.url}/rollouts/{name}"), open_page(report.as_uri())
    for selector in (".verdict", ".traffic", ".checks", ".story"):
        assert text(saved, selector) == text(live, selector)
    for page in (live, saved):
        page.wait_for_selector(".plot:visible >> nth=-1 >> svg.chart text")
    charts = "[...document.querySelectorAll('svg.chart')].map(e => e.outerHTML)"
    assert saved.evaluate(charts) == live.evaluate(charts)
    assert text(saved, "#link") == "Saved report"


def test_a_chart_reads_out_its_points_by_mouse_and_keyboard(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/promoted")
    chart, readout = page.locator("#check-errors svg.chart"), page.locator("#check-errors .readout")
    legend = readout.inner_text()
    chart.focus()
    page.keyboard.press("Home")
    assert readout.inner_text().startswith("0:06") and "n 4" in readout.inner_text()
    page.keyboard.press("End")
    assert readout.inner_text().startswith("1:27")
    page.keyboard.press("Escape")
    assert readout.inner_text() == legend
    chart.hover(position={"x": 200, "y": 80})
    assert "weight" in readout.inner_text()


def test_the_log_joins_answers_that_differ_only_in_numbers(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/rejected-traffic")
    assert page.locator(".log li").count() == 0, "rows are made when it is opened"
    page.click(".log summary")
    page.wait_for_selector(".log li")  # the toggle event comes later than the click
    rows = page.locator(".log li").all_inner_texts()
    assert len(rows) < 10
    assert "yes 200" in rows[1] and "rollback" in rows[1]


def test_the_digest_is_short_and_has_the_whole_in_its_title(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/promoted", permissions=["clipboard-read", "clipboard-write"])
    button = page.locator(".digest").first
    assert button.inner_text() == "2" * 12
    button.click()
    page.wait_for_selector(".digest:text-is('copied')")
    assert page.evaluate("navigator.clipboard.readText()") == rollouts.reference(2).split("@")[1]


KINDS = {
    "availability": ["Canary\n1.2 %\n0.7 to 1.9", "Primary\n1 %", "Limit\nat most 2 %", "9,000 of the primary"],
    "memory": ["process_resident_memory_megabytes", "612.0 MiB", "at most 800 MiB", "canary values"],
    "regions": ["+0.4 points", "−1.2 to +2.1", "By region: of how many requests, in %", "310", "+9.0"],
    "p99": ["+14.0 ms", "−22.5 or more", "+25 ms", "214 ms", "200 ms"],
    "revenue": ["−0.06 EUR", "Allowed\n−0.5 EUR", "4.11 EUR"],
    "inputs": ["Distance\n0.3", "Limit\nat most 0.2", "50,000 of the reference", "Shares of the predictions by bin"],
    "truth": ["91 %", "Allowed\n−2 points", "canary labels"],
    "twin": ["Other answers\n3.0 %\n2.0 to 4.5", "at most 5 %", "6 worst examples", "req-6"],
    "owner": ["Waits for the answer above", "A person's approval"],
}


@pytest.mark.parametrize("name", KINDS)
def test_every_number_says_what_it_is_of_how_many_and_how_sure(gate: Gate, open_page: Any, name: str) -> None:
    page = open_page(f"{gate.url}/rollouts/every-kind")
    card = text(page, f"#check-{name}").replace("\n\n", "\n").replace(" \n", "\n")
    for words in KINDS[name]:
        assert words in card


def test_two_distributions_are_read_out_bin_by_bin(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/every-kind")
    chart, readout = page.locator("#check-inputs .histogram"), page.locator("#check-inputs .readout").first
    assert "Furthest apart: to 20: 31.0 % and 10.0 %" in chart.get_attribute("aria-label")
    chart.focus()
    page.keyboard.press("End")
    assert readout.inner_text() == "above 40: canary 7.0 %, reference 13.0 %"
    page.keyboard.press("ArrowLeft")
    assert readout.inner_text().startswith("30 to 40")
    page.click("#check-inputs .plot summary")
    assert page.locator("#check-inputs .plot tbody tr").first.inner_text().split("\t") == ["to 20", "31.0 %", "10.0 %"]


def test_a_distance_over_time_is_seen_whole(gate: Gate, open_page: Any) -> None:
    rollout = rollouts.every_kind()
    (check,) = (each for each in rollout["checks"] if each["type"] == "drift")
    check["history"][0] |= {"estimate": 9.0, "n": 20}  # far apart at first, when there was little
    gate.rollouts = {"r": rollout}
    page = open_page(f"{gate.url}/rollouts/r")
    line = page.get_attribute("#check-inputs svg.chart:not(.histogram) path.line", "d")
    shown = page.locator("#check-inputs svg.chart:not(.histogram) clipPath rect")
    top, height = (float(shown.get_attribute(each)) for each in ("y", "height"))
    assert all(top <= float(each.split(",")[1]) <= top + height for each in line.lstrip("M").split("L"))


def test_worse_is_below_where_higher_is_better(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/every-kind")

    def zone(check: str) -> tuple[float, float]:
        place = page.locator(f"#check-{check} .zone")
        return float(place.get_attribute("y")), float(place.get_attribute("y")) + float(place.get_attribute("height"))

    def zero(check: str) -> float:
        return float(page.locator(f"#check-{check} line.rule.zero").get_attribute("y1"))

    assert zone("regions")[1] < zero("regions")
    assert zone("revenue")[0] > zero("revenue")


def test_the_page_says_commit_budget_and_how_each_check_decides(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/every-kind")
    assert "3f9c2ab41d77" in text(page, ".hero .facts")
    assert rollouts.BUDGET in text(page, ".promise")
    assert page.text_content(".waiting") == "Waiting for a person: owner asks for approval"
    page.click("#check-golden .method summary")
    assert "compared in pairs. Its part of the chance of a wrong verdict is 1.67 %" in text(
        page, "#check-golden .method"
    )


def test_a_report_holds_what_the_decision_rests_on(open_page: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(render_report(rollouts.report(state("promoted"))))
    page = open_page(file.as_uri())
    page.click(".basis summary")
    counted = ("2 slices", "total 200, bad 2", "2 examples", "1 answered", "1,380 predictions, 1,300 labels")
    told = ("kind: Gate", "sha256:" + "a" * 64, "scipy", *counted, "12 labels are forgotten or corrected since")
    for words in told:
        assert words in text(page, ".basis")
    report = rollouts.report(state("promoted"))
    report["basis"]["golden"]["pairs"] = None
    file.write_bytes(render_report(report))
    assert "the answers were too long to keep" in text(open_page(file.as_uri()), ".basis")


def test_the_chain_of_origin_is_shown_and_stays_text(gate: Gate, open_page: Any) -> None:
    steps = [
        {"kind": "data", "title": "dvc:3f2a", "state": "none", "facts": [["rows", "318"]], "links": []},
        {
            "kind": "run",
            "title": HOSTILE,
            "state": "good",
            "facts": [[HOSTILE, HOSTILE], "not a pair"],
            "links": [{"title": "notebook", "url": "https://runs.example.com/1.html"}, {"url": "javascript:owned=1"}],
        },
        "not a step",
    ]
    gate.rollouts["promoted"] = state("promoted", lineage={"steps": steps})
    page = open_page(f"{gate.url}/rollouts/promoted", width="phone")
    page.wait_for_selector(".lineage li")
    assert [each.inner_text() for each in page.query_selector_all(".lineage li b")] == ["dvc:3f2a", HOSTILE]
    assert [each.get_attribute("href") for each in page.query_selector_all(".lineage a")] == [
        "https://runs.example.com/1.html"
    ]
    assert not page.evaluate("window.owned") and page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for none in (None, {}, {"steps": "x"}):
        gate.rollouts["promoted"] = state("promoted", lineage=none)
        page.reload()
        page.wait_for_selector(".checks")
        assert page.query_selector_all(".lineage li") == []
