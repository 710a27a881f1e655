"""The page of a gate that asks for tokens, in a real browser in front of the real gate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import requests

from tests.command import modelpack
from tests.fakes.rehearsal import model_server
from tests.integration.servers.gate import GOOD, ProcessScene

pytest.importorskip("fastapi")
ADA = "a" * 24
KNOWN = {"Authorization": f"Bearer {ADA}"}


class Guarded(ProcessScene):
    """A gate with a token, under which a rollout waits for traffic; `id` is its."""

    environ = MappingProxyType({"MODELPACK_GATE_TOKENS": f"ada={ADA}"})

    def begin(self) -> str:
        self.until("confirm-traffic-increase", 200)
        answer = requests.get(f"{self.url}/api/v1/rollouts", headers=KNOWN, timeout=5).json()
        self.id = str(answer["rollouts"][0]["id"])
        return self.id

    def verdict(self) -> str:
        answer = requests.get(f"{self.url}/api/v1/rollouts/{self.id}", headers=KNOWN, timeout=5).json()
        return f"{answer['verdict']}: {answer['reason']}"


class Readable(Guarded):
    words = ("--anyone-reads",)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    with ExitStack() as stack:

        def started(kind: Callable[..., Any]) -> Any:
            found = kind(tmp_path, stack, GOOD, model_server(0.1))
            found.begin()
            return found

        yield started


def give(page: Any, token: str) -> None:
    page.fill("[name=token]:visible", token)
    page.keyboard.press("Enter")


def saved(page: Any, words: str) -> Path:
    with page.expect_download() as download:
        page.click(f"text={words}")
    return Path(download.value.path()).rename(Path(download.value.path()).with_suffix(".html"))


def test_the_first_page_asks_once_and_then_all_works(scene: Callable[..., Any], open_page: Any) -> None:
    s = scene(Guarded)
    page = open_page(s.url, complain=False)  # the browser itself complains about each 401
    assert page.inner_text("h1:visible") == "This gate asks for a token"
    assert s.id not in page.content() and page.evaluate("document.activeElement.name") == "token"
    found = pytest.importorskip("axe_playwright_python.sync_playwright").Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    for wrong, said in (
        ("", "A token is needed."),
        ("no token", "A token has no blanks, and none but ASCII characters."),
        ("b" * 24, "The gate does not know this token."),
    ):
        page.evaluate("document.querySelector('[name=token]').required = false")
        give(page, wrong)
        page.wait_for_selector(f"[role=alert]:text-is('{said}')")
    give(page, ADA)
    page.wait_for_selector(".rollouts li")
    assert page.locator(".token").count() == 0 and page.inner_text("#link") == "Live"
    page.click(".rollouts a")
    page.wait_for_selector("#check-errors")
    s.folder.write(weight=30)  # the stream goes on telling
    s.ask("confirm-traffic-increase")
    page.wait_for_selector(".traffic b:text-is('30 %')")
    assert json.loads(saved(page, "its data as JSON").read_text())["rollout"]["id"] == s.id
    report = open_page(saved(page, "Save as a report").as_uri())
    assert "gate.yaml" in report.inner_text(".basis")
    page.wait_for_selector("summary:has-text('waits for a person')")  # no request reaches the canary: the form opens
    assert not page.locator("[name=by]").is_visible(), "the token says who decides"
    page.fill("[name=note]", "wrong data")
    page.get_by_role("button", name="Reject").click()
    page.wait_for_selector(".badge.big:has-text('Rejected')")
    assert s.verdict() == "reject: rejected by ada: wrong data"
    assert ADA not in page.url and ADA not in page.content()
    assert open_page(s.url, complain=False).locator(".token").count() == 1, "another browser is asked again"


def test_a_held_rollout_is_approved_by_the_name_of_the_token(scene: Callable[..., Any], open_page: Any) -> None:
    s = scene(Guarded)
    s.folder.write(weight=20)
    s.until("confirm-promotion", 403)
    assert "no request has reached the canary" in s.until("confirm-traffic-increase", 403)
    page = open_page(f"{s.url}/rollouts/{s.id}", complain=False)
    give(page, ADA)
    page.get_by_role("button", name="Approve").click()
    page.wait_for_selector(".badge.big:has-text('Accepted')")
    assert s.verdict() == "accept: approved by ada"


def test_where_anyone_reads_only_a_decision_asks(scene: Callable[..., Any], open_page: Any) -> None:
    s = scene(Readable)
    page = open_page(s.url, complain=False)
    page.click(".rollouts a")
    page.wait_for_selector("#check-errors")
    assert page.locator(".token").count() == 0
    assert "gate.yaml" in open_page(saved(page, "Save as a report").as_uri()).inner_text(".basis")
    page.click("text=Reject this rollout")
    page.fill("[name=by]", "mallory")
    reject = page.get_by_role("button", name="Reject")
    reject.click()
    page.wait_for_selector("text=To decide, write your token")
    assert page.evaluate("document.activeElement.name") == "token" and not page.locator("[name=by]").is_visible()
    page.fill("[name=token]", "b" * 24)
    reject.click()
    page.wait_for_selector("text=The gate does not know this token")
    assert s.verdict().startswith("undecided")
    page.fill("[name=token]", ADA)
    reject.click()
    page.wait_for_selector(".badge.big:has-text('Rejected')")
    assert s.verdict() == "reject: rejected by ada"


def test_the_policy_of_the_page_stays_as_narrow(scene: Callable[..., Any]) -> None:
    page = requests.get(scene(Guarded).url, timeout=5).text
    found = re.search('Content-Security-Policy" content="([^"]*)"', page)
    assert found and found[1] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def test_the_report_command_sends_its_token(
    scene: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = scene(Guarded)
    words = ("report", s.id, "--gate", s.url)
    monkeypatch.delenv("MODELPACK_GATE_TOKEN", raising=False)
    refused = modelpack(*words, cwd=tmp_path)
    assert refused.code == 4 and "put one into $MODELPACK_GATE_TOKEN" in refused.sentence
    monkeypatch.setenv("MODELPACK_GATE_TOKEN", ADA)
    assert modelpack(*words, cwd=tmp_path).out.startswith("### Model mpg: v1 → v2")
