"""The service's streams, pages of rollouts and reports, over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from modelpack.gate import live
from tests.fakes.again import again, shown
from tests.fakes.rehearsal import model_server
from tests.integration.servers.gate import GOOD, ProcessScene, Scene

pytest.importorskip("fastapi")
STREAM = {"accept": "text/event-stream"}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    with ExitStack() as stack:
        yield lambda kind=Scene: kind(tmp_path, stack, GOOD, model_server(0.1))


def listen(stack: ExitStack, address: str, silence: float = 30) -> requests.Response:
    answer = stack.enter_context(requests.get(address, headers=STREAM, stream=True, timeout=silence))
    assert answer.status_code == 200
    return answer


def events(answer: requests.Response) -> Iterator[Any]:
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def test_a_stream_gives_the_rollout_again_whenever_it_changed(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.until("confirm-traffic-increase", 200)
    rollout = s.whole()["id"]
    with ExitStack() as stack:
        answer = listen(stack, f"{s.url}/api/v1/rollouts/{rollout}")
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer)
        first = next(told)
        assert first["id"] == rollout and first["weight"] == 0
        s.folder.write(weight=30)
        s.ask("confirm-traffic-increase")
        assert next(each for each in told if each["weight"] == 30)["checks"]
        listed = events(listen(stack, f"{s.url}/api/v1/rollouts?limit=5"))
        assert next(listed)["total"] == 1


def test_what_stays_as_it_is_is_not_told_again(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.until("confirm-traffic-increase", 200)
    s.folder.write(phase="Succeeded", weight=0)
    s.ask("post-rollout", phase="Succeeded")
    with ExitStack() as stack:
        told = events(listen(stack, f"{s.url}/api/v1/rollouts/{s.whole()['id']}", silence=3))
        assert next(told)["state"] == "promoted"
        with pytest.raises(requests.exceptions.ConnectionError):
            next(told)


def test_listeners_are_bounded_and_leave_room_when_they_go(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LISTENERS", 2)
    s = scene()
    s.until("confirm-traffic-increase", 200)
    address = f"{s.url}/api/v1/rollouts/{s.whole()['id']}"
    with ExitStack() as stack:
        several = [events(listen(stack, address)) for _ in range(2)]
        assert [next(each)["state"] for each in several] == ["active", "active"]
        plain = requests.get(address, headers=STREAM, timeout=5)
        assert plain.headers["content-type"] == "application/json" and plain.json()["state"] == "active"
    end = time.monotonic() + 10
    while True:
        with ExitStack() as stack:
            if listen(stack, address).headers["content-type"].startswith("text/event-stream"):
                return
        assert time.monotonic() < end
        time.sleep(0.2)


def test_different_lists_are_bounded_however_they_are_spelled(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LISTS", 1)
    s, told = scene(), []  # a stream that nobody holds is closed
    with ExitStack() as stack:
        for query, kind in (
            ("?limit=5", "text/event-stream"),
            ("?limit=5&x=1", "text/event-stream"),  # the same list
            ("?limit=6", "application/json"),
        ):
            answer = listen(stack, f"{s.url}/api/v1/rollouts{query}")
            assert answer.headers["content-type"].startswith(kind), query
            if kind == "text/event-stream":
                told.append(events(answer))
                next(told[-1])


def test_a_gate_that_stops_does_not_wait_for_listeners(scene: Callable[..., Any]) -> None:
    s = scene(ProcessScene)
    s.until("confirm-traffic-increase", 200)
    with ExitStack() as stack:
        told = events(listen(stack, f"{s.url}/api/v1/rollouts/{s.whole()['id']}"))
        next(told)
        begun = time.monotonic()
        assert s.end() == 0
        assert time.monotonic() - begun < 3


def test_the_list_comes_in_pages_and_is_searched(scene: Callable[..., Scene]) -> None:
    s = scene()
    for number in range(5):
        s.until("confirm-traffic-increase", 200, checksum=f"c{number}")
        s.folder.write(phase="Succeeded", weight=0)
        s.ask("post-rollout", phase="Succeeded", checksum=f"c{number}")
        s.folder.write(phase="Progressing")

    def page(query: str) -> Any:
        return requests.get(f"{s.url}/api/v1/rollouts{query}", timeout=5)

    everything = page("").json()
    ids = [each["id"] for each in everything["rollouts"]]
    assert everything["total"] == 5 and everything["next"] is None and everything["models"] == ["mpg"]
    first = page("?limit=3").json()
    assert [each["id"] for each in first["rollouts"]] == ids[:3] and first["next"] == ids[2]
    rest = page(f"?limit=3&before={ids[2]}").json()
    assert [each["id"] for each in rest["rollouts"]] == ids[3:] and (rest["next"], rest["total"]) == (None, 5)
    assert [each["id"] for each in page(f"?text={ids[4][-6:].upper()}").json()["rollouts"]] == [ids[4]]
    assert page("?text=models/MPG").json()["total"] == 5 and page("?text=%25").json()["total"] == 0
    assert page("?before=none").status_code == 404 and page("?limit=0").status_code == 422
    assert page("?text=%00").status_code == 422


def test_a_report_is_enough_to_judge_again(scene: Callable[..., Scene]) -> None:
    s = scene()
    s.until("confirm-traffic-increase", 200)
    s.folder.write(weight=30)
    s.traffic(40, 60, looks=12, bad=1)
    s.folder.write(phase="Succeeded", weight=0)
    s.ask("post-rollout", phase="Succeeded")
    rollout = s.whole()
    report = requests.get(f"{s.url}/rollouts/{rollout['id']}/report.json", timeout=5).json()
    assert report["rollout"] == rollout and set(report["versions"]) == {"modelpack", "python", "numpy", "scipy"}
    judged = {each["name"]: each for each in rollout["checks"]}
    assert {name: shown(each) for name, each in again(report).items()} == {
        name: shown(each) for name, each in judged.items()
    }
    assert judged["golden"]["n"] == 40 and judged["errors"]["n"] > 100 and judged["latency"]["estimate"] is not None
    page = requests.get(f"{s.url}/rollouts/{rollout['id']}/report.html", timeout=5).text
    assert report["files"]["gate.yaml"]["digest"] in page


def test_the_command_writes_the_report_in_each_format(scene: Callable[..., Scene], tmp_path: Path) -> None:
    def run(*words: object) -> Any:
        command = [sys.executable, "-m", "modelpack", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    s = scene()
    s.until("confirm-traffic-increase", 200)
    rollout = s.whole()["id"]
    text = run("report", rollout, "--gate", s.url)
    assert text.returncode == 0 and text.stdout.startswith("### Model mpg: v1 → v2")
    assert "| golden |" in text.stdout and "is rejected by chance in at most 5 %" in text.stdout
    assert f"/rollouts/{rollout})" in text.stdout and "&#" not in text.stdout
    assert run("report", rollout, "--gate", s.url, "-o", tmp_path / "r.html").returncode == 0
    assert b"To make the decision again" in (tmp_path / "r.html").read_bytes()
    assert json.loads(run("report", rollout, "--gate", s.url, "--format", "json").stdout)["rollout"]["id"] == rollout
    none = run("report", "none", "--gate", s.url)
    assert none.returncode == 3 and f"there is no rollout none; {s.url}/ lists them" in none.stderr
    assert run("report", rollout, "--gate", "http://127.0.0.1:9").returncode == 5
    assert run("report", rollout, "--gate", "ftp://x").returncode == 2


def test_the_page_follows_the_gate_itself(scene: Callable[..., Scene], open_page: Callable[..., Any]) -> None:
    s = scene()
    s.until("confirm-traffic-increase", 200)
    page = open_page(s.url)
    page.click(".rollouts a")
    page.wait_for_selector("#check-errors")
    assert page.locator("#link").inner_text() == "Live"
    s.folder.write(weight=30)
    s.traffic(40, 60, looks=12, bad=1)
    page.wait_for_selector(".traffic b:text-is('30 %')")
    page.wait_for_selector("#check-errors svg.chart .band", state="attached")
    assert "canary requests, at least 500 needed to accept" in page.inner_text("#check-errors")
    assert "is rejected by chance in at most" in page.inner_text(".promise")
    page.click("text=Reject this rollout")
    page.fill("[name=by]", "ada")
    page.get_by_role("button", name="Reject").click()
    page.wait_for_selector(".badge.big:has-text('Rejected')")
    with page.expect_download() as saved:
        page.click("text=Save as a report")
    report = open_page(saved.value.path().rename(s.folder.root / "report.html").as_uri())
    assert report.inner_text(".badge.big") == "Rejected" and "gate.yaml" in report.inner_text(".basis")
