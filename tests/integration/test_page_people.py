"""The page for those who use it: by keyboard, by screen reader, with a decision to make."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from modelpack.gate.report import render_report
from tests.fakes import rollouts
from tests.fakes.page import Gate, standing_in, state, text


@pytest.fixture
def gate() -> Iterator[Gate]:
    with standing_in() as server:
        yield server


def tab(page: Any, selector: str, most: int = 40) -> None:
    """Press Tab until this has the focus, which has to be seen."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(f"document.activeElement.matches({selector!r})"):
            ring = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(ring) != "none", f"nobody sees the focus on {selector}"
            return
    raise AssertionError(f"no Tab reaches {selector}")


def test_the_list_needs_no_mouse(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {rollout["id"]: rollout for rollout in rollouts.many(1000)}
    page = open_page(gate.url)
    tab(page, "[type=search]")
    page.keyboard.type("r0")
    page.wait_for_selector("text=1,000 rollouts, the newest 50 shown")
    tab(page, "label:nth-of-type(2) select")
    page.keyboard.type("ranking")
    page.wait_for_selector("text=333 rollouts")
    tab(page, ".pages [rel=next]", 60)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=50 older ones shown")
    tab(page, ".rollouts a")
    page.keyboard.press("Enter")
    page.wait_for_selector(".hero")
    assert text(page, ".hero h1") == "ranking-eu"


def test_a_decision_needs_no_mouse(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {"r": state("undecided", id="r")}
    page = open_page(f"{gate.url}/rollouts/r")
    tab(page, ".decision summary")
    page.keyboard.press("Space")
    tab(page, "[name=by]", 1)
    page.keyboard.type("ada")
    tab(page, "[name=note]", 1)
    page.keyboard.type("wrong data")
    tab(page, ".decision button", 1)
    page.keyboard.press("Enter")
    page.wait_for_selector(".decision", state="hidden")
    assert gate.told == [("/api/v1/rollouts/r/approval", {"decision": "reject", "by": "ada", "note": "wrong data"})]


def test_who_writes_is_not_interrupted_by_a_new_verdict(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {"r": state("held", id="r")}
    page = open_page(f"{gate.url}/rollouts/r")
    page.fill("[name=note]", "wrong da")
    gate.rollouts = {"r": state("undecided", id="r")}
    page.wait_for_selector(".badge.big:has-text('Undecided')")
    page.keyboard.type("ta")
    assert page.input_value("[name=note]") == "wrong data" and page.locator("[name=note]").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["", "every-kind", "held", "rejected-golden"])
def test_axe_finds_nothing_that_keeps_anybody_out(gate: Gate, open_page: Any, name: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(f"{gate.url}/rollouts/{name}" if name else gate.url, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
    assert {"color-contrast", "link-name"} <= {each["id"] for each in found.response["passes"]}


def test_it_is_named_for_screen_readers(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/every-kind")
    nameless = """[...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")].filter(e =>
        e.checkVisibility() && !(e.textContent.trim() || e.ariaLabel || (e.labels && e.labels.length)))"""
    assert page.evaluate(f"{nameless}.map(e => e.outerHTML)") == []
    headings = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].filter(e => e.checkVisibility()).map(e => +e.tagName[1])"
    )
    assert headings[0] == 1 and all(after <= before + 1 for before, after in pairwise(headings))
    tab(page, "[name=by]", 3)


def test_a_held_rollout_waits_for_a_name_and_a_decision(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {"r": state("held", id="r")}
    page = open_page(f"{gate.url}/rollouts/r", complain=False)  # the browser complains about a 409 itself
    approve, reject = (page.get_by_role("button", name=each) for each in ("Approve", "Reject"))
    approve.click()
    assert gate.told == [] and page.evaluate("document.activeElement.name") == "by"
    page.fill("[name=by]", "ada")
    page.fill("[name=note]", "late")
    reject.click()
    page.wait_for_selector("text=it is not held")
    page.fill("[name=note]", "seen in staging")
    approve.click()
    page.wait_for_selector(".decision", state="hidden")
    body = {"decision": "approve", "by": "ada", "note": "seen in staging"}
    assert gate.told[-1] == ("/api/v1/rollouts/r/approval", body)


def test_a_rollout_under_way_can_be_rejected_and_a_token_is_asked_for(gate: Gate, open_page: Any) -> None:
    gate.rollouts, gate.token = {"r": state("undecided", id="r")}, "s3cret"
    page = open_page(f"{gate.url}/rollouts/r", complain=False)
    page.click("text=Reject this rollout")
    assert not page.get_by_role("button", name="Approve").is_visible()
    page.fill("[name=by]", "ada")
    page.get_by_role("button", name="Reject").click()
    page.wait_for_selector("[name=token]")
    assert gate.told == []
    page.fill("[name=token]", "s3cret")
    page.get_by_role("button", name="Reject").click()
    page.wait_for_selector(".decision", state="hidden")
    assert gate.told[-1][1]["decision"] == "reject"


@pytest.mark.parametrize(
    "rollout", [state("undecided"), state("held", verdict="accept"), state("held", state="failed"), None]
)
def test_nothing_else_can_be_decided(gate: Gate, open_page: Any, tmp_path: Path, rollout: Any) -> None:
    address = tmp_path / "report.html"
    address.write_bytes(render_report(rollouts.report(state("held"))))
    gate.rollouts = {"r": rollout}
    page = open_page(f"{gate.url}/rollouts/r" if rollout else address.as_uri())
    assert not page.get_by_role("button", name="Approve").is_visible()
