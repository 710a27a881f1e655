"""The list of rollouts in a real browser, and how the page hears of what changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import rollouts
from tests.fakes.page import Gate, standing_in, state, text


@pytest.fixture
def gate() -> Iterator[Gate]:
    with standing_in() as server:
        yield server


def test_a_thousand_rollouts_come_in_pages_and_are_searched(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {rollout["id"]: rollout for rollout in rollouts.many(1000)}
    page = open_page(gate.url)
    assert text(page, ".total") == "1,000 rollouts, the newest 50 shown"
    assert page.locator(".rollouts li").count() == 50
    page.click("text=Older")
    page.wait_for_selector("text=50 older ones shown")
    assert page.locator(".rollouts a").first.get_attribute("href") == "rollouts/r0050"
    page.click("text=Newest")
    page.wait_for_selector("text=the newest 50 shown")
    page.select_option("select >> nth=1", "promoted")
    page.select_option("select >> nth=0", "ranking-eu")
    page.wait_for_selector("text=167 rollouts")
    assert set(page.locator(".rollouts .badge").all_inner_texts()) == {"Promoted"}
    page.fill("[type=search]", "r02")
    page.wait_for_selector("text=17 rollouts")
    assert page.url.endswith("?text=r02&model=ranking-eu&state=promoted")
    page.reload()
    page.wait_for_selector(".rollouts li")
    assert text(page, ".total") == "17 rollouts", "the address keeps the filter"
    page.fill("[type=search]", "nothing like it")
    page.wait_for_selector("text=No rollout fits this filter.")
    page.fill("[type=search]", "")
    page.click(".rollouts a >> nth=0")
    page.wait_for_selector(".hero")
    assert text(page, ".badge.big") == "Promoted"


def test_the_list_tells_of_a_new_rollout_without_a_reload(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {"r1": state("promoted", id="r1")}
    page = open_page(gate.url)
    gate.rollouts = {**gate.rollouts, "r2": state("undecided", id="r2")}
    page.wait_for_selector(".rollouts li >> nth=1")
    assert gate.asked.count("/api/v1/rollouts") == 1


def test_without_streams_the_page_asks_again_and_again(gate: Gate, open_page: Any) -> None:
    gate.streams = False
    gate.rollouts = {"r": rollouts.undecided(40, time.time() - 40)}
    page = open_page(f"{gate.url}/rollouts/r")
    gate.rollouts = {"r": rollouts.undecided(50, time.time() - 50)}
    page.wait_for_selector(".traffic b:text-is('40 %')")
    assert gate.asked.count("/api/v1/rollouts/r") >= 2


def test_a_stream_that_is_held_back_is_given_up(gate: Gate, open_page: Any) -> None:
    gate.silent = True
    page = open_page(f"{gate.url}/rollouts/undecided", complain=False)
    assert text(page, ".badge.big") == "Undecided"
    assert gate.streamed == ["/api/v1/rollouts/undecided"] and gate.asked.count("/api/v1/rollouts/undecided") >= 2


def test_an_empty_list_says_what_to_do(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {}
    page = open_page(gate.url)
    assert "No rollouts yet" in text(page, "main") and "modelpack rehearse" in text(page, "main")


def test_a_gate_that_is_down_is_said_and_found_again(gate: Gate, open_page: Any) -> None:
    page = open_page(f"{gate.url}/rollouts/undecided", complain=False)
    gate.down = True
    page.wait_for_selector("#link[data-kind=down]")
    assert "The gate does not answer" in text(page, "#link")
    assert text(page, ".badge.big") == "Undecided", "what was known stays"
    gate.down = False
    page.wait_for_selector("#link[data-kind=live]")


def test_nothing_is_asked_while_nobody_looks(gate: Gate, open_page: Any) -> None:
    gate.rollouts = {"r": rollouts.undecided(40, time.time() - 40)}
    page = open_page(f"{gate.url}/rollouts/r", complain=False)
    turn = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    turn += "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(turn % "true")
    asked = len(gate.asked)
    gate.rollouts = {"r": rollouts.undecided(50, time.time() - 50)}
    page.wait_for_timeout(1500)
    assert len(gate.asked) == asked and text(page, ".traffic b") == "30 %"
    page.evaluate(turn % "false")
    page.wait_for_selector(".traffic b:text-is('40 %')")
