"""The page in a real browser, in front of a stand-in for the gate's API, and as a report from the disk."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from modelpack.gate.report import ASSETS_DIR, page_html, render_report
from tests.fakes import rollouts

TYPES = {".css": "text/css", ".js": "text/javascript"}
HOSTILE = "<img src=x onerror=window.owned=1><script>window.owned=1</script>"


class Gate(ThreadingHTTPServer):
    """Answers what the page asks, from `rollouts`; `down` makes it refuse."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.rollouts: dict[str, rollouts.Rollout] = dict(rollouts.SAMPLES)
        self.down = False
        self.asked: list[str] = []
        self.told: list[tuple[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Gate

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        status, kind, body = 200, "text/html", b""
        match path.strip("/").split("/"):
            case [""]:
                body = page_html(None)
            case ["rollouts", name]:
                body = page_html(name)
            case ["assets", name]:
                kind, body = TYPES[Path(name).suffix], (ASSETS_DIR / name).read_bytes()
            case ["api", "v1", "rollouts", *name]:
                found: Any = (
                    self.server.rollouts.get(name[0]) if name else {"rollouts": [*self.server.rollouts.values()]}
                )
                status, kind, body = (200 if found else 404), "application/json", json.dumps(found).encode()
        self.send_response(503 if self.server.down and kind == "application/json" else status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told.append((unquote(self.path), value))
        status, body = (409, b"it is not held") if value["note"] == "late" else (200, b"{}")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gate() -> Iterator[Gate]:
    server = Gate()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def text(page: Any, selector: str) -> str:
    return str(page.inner_text(selector)).strip()


def state(name: str, **changes: Any) -> rollouts.Rollout:
    return {**rollouts.SAMPLES[name], **changes}


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
    assert "allowed is up to +8 points" in page.get_attribute("#check-latency svg.chart", "aria-label")


def test_the_golden_set_shows_limits_and_worst_examples(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/rejected-golden")
    card = text(page, "#check-golden")
    for words in ("Mean absolute error", "17.6 mpg", "2.41 mpg", "+15.2 mpg", "at most 3 mpg", "79 of 79"):
        assert words in card
    assert page.locator("#check-golden tbody tr").count() == 20
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


def test_a_gate_that_is_down_is_said_and_found_again(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/undecided", complain=False)
    gate.down = True
    page.wait_for_selector("#link[data-kind=down]")
    assert "The gate does not answer" in text(page, "#link")
    assert text(page, ".badge.big") == "Undecided", "what was known stays"
    gate.down = False
    page.wait_for_selector("#link[data-kind=live]")


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
    report.write_bytes(render_report(rollout))
    for address in (f"{gate.url}/rollouts/r", report.as_uri(), gate.url):
        page = open_page(address)
        if address != gate.url:
            page.click("summary")
            assert text(page, "h1") == HOSTILE
        page.wait_for_timeout(200)
        assert page.evaluate("window.owned") is None
        assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("name", ["", *rollouts.SAMPLES])
def test_nothing_scrolls_sideways_on_a_phone(gate: Gate, open_page: Any, name: str) -> None:
    page = open_page(f"{gate.url}/rollouts/{name}" if name else gate.url, "phone", color_scheme="dark")
    if name:
        page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("name", rollouts.SAMPLES)
def test_a_report_opens_from_the_disk_and_shows_the_same(gate: Gate, open_page: Any, tmp_path: Path, name: str) -> None:
    ended = state(name, ended=rollouts.STARTED + 130)  # a running one goes on only on the live page
    gate.rollouts = {name: ended}
    report = tmp_path / "report.html"
    report.write_bytes(render_report(ended))
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
    page.click("summary")
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


def test_a_thousand_rollouts_stay_light_and_can_be_filtered(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {rollout["id"]: rollout for rollout in rollouts.many(1000)}
    page = open_page(gate.url)
    assert "1,000 rollouts, the newest 50 shown" in text(page, ".total")
    assert page.locator(".rollouts li").count() == 50
    page.click("button.more")
    assert page.locator(".rollouts li").count() == 100
    page.select_option("select >> nth=1", "promoted")
    page.select_option("select >> nth=0", "ranking-eu")
    assert set(page.locator(".rollouts .badge").all_inner_texts()) == {"Promoted"}
    assert page.url.endswith("?model=ranking-eu&state=promoted")
    page.reload()
    page.wait_for_selector(".rollouts li")
    assert text(page, ".total").startswith("167 rollouts"), "the address keeps the filter"
    page.click(".rollouts a >> nth=0")
    page.wait_for_selector(".hero")
    assert text(page, ".badge.big") == "Promoted"


def test_an_empty_list_says_what_to_do(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {}
    page = open_page(gate.url)
    assert "No rollouts yet" in text(page, "main") and "modelpack rehearse" in text(page, "main")


def test_a_held_rollout_waits_for_a_name_and_a_decision(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {"r": state("held", id="r")}
    page = open_page(f"{gate.url}/rollouts/r", complain=False)  # the browser complains about a 409 itself
    page.click("text=Approve")
    assert gate.told == [] and page.evaluate("document.activeElement.name") == "by"
    page.fill("[name=by]", "ada")
    page.fill("[name=note]", "late")
    page.click("text=Reject")
    page.wait_for_selector("text=it is not held")
    page.fill("[name=note]", "seen in staging")
    page.click("text=Approve")
    page.wait_for_selector(".decision", state="hidden")
    body = {"decision": "approve", "by": "ada", "note": "seen in staging"}
    assert gate.told[-1] == ("/api/v1/rollouts/r/approval", body)


@pytest.mark.parametrize(
    "rollout", [state("undecided"), state("held", verdict="accept"), state("held", state="failed"), None]
)
def test_nothing_else_can_be_decided(gate: Gate, open_page: Any, tmp_path: Path, rollout: Any) -> None:
    address = tmp_path / "report.html"
    address.write_bytes(render_report(state("held")))
    gate.rollouts = {"r": rollout}
    page = open_page(f"{gate.url}/rollouts/r" if rollout else address.as_uri())
    assert not page.locator("text=Approve").is_visible()


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
