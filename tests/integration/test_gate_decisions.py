"""`modelpack gate` from the command line: what it serves, and a person's word to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.command import modelpack
from tests.fakes.rehearsal import model_server
from tests.integration.servers.gate import GOOD, Scene

pytest.importorskip("fastapi")


@pytest.fixture
def s(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack, GOOD, model_server(0.1))


def test_a_person_decides_about_a_held_rollout(s: Scene, tmp_path: Path) -> None:
    s.until("confirm-traffic-increase", 200)
    rollout = s.rollouts()[0]["id"]
    words = ("gate", "approve", rollout, "--gate", s.url, "--by", "ada", "--note", "seen in staging")
    early = modelpack(*words, cwd=tmp_path)
    assert early.code == 4 and "is not held but undecided: there is nothing to approve" in early.sentence
    s.folder.write(weight=20)
    s.until("confirm-promotion", 403)
    assert "no request has reached the canary" in s.until("confirm-traffic-increase", 403)
    done = modelpack(*words, cwd=tmp_path)
    assert (done.code, done.out) == (0, f"{rollout}: accept, approved by ada: seen in staging\n")
    assert s.ask("confirm-promotion").status_code == 200
    whole = s.whole()
    assert (whole["verdict"], whole["final"]) == ("accept", True)
    assert [each["reason"] for each in whole["events"] if each["hook"] == "approval"] == [whole["reason"]]
    assert "approved by ada" in requests.get(f"{s.url}/rollouts/{rollout}/report.html", timeout=5).text
    assert modelpack("gate", "reject", rollout, "--gate", s.url, "--by", "bob", cwd=tmp_path).code == 0
    assert s.ask("rollback").text == "reject: rejected by bob\n"
    assert modelpack(*words, cwd=tmp_path).code == 4


def test_a_decision_about_nothing_is_one_sentence(s: Scene, tmp_path: Path) -> None:
    for words, code, problem in (
        (("none", "--gate", s.url, "--by", "ada"), 3, "there is no rollout none"),
        (("none", "--gate", s.url, "--by", " "), 2, "by: "),
        (("none", "--gate", "http://127.0.0.1:9", "--by", "ada"), 5, "the gate does not answer"),
    ):
        done = modelpack("gate", "approve", *words, cwd=tmp_path)
        assert done.code == code and problem in done.sentence


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "give one of --rehearsal and --cluster"),
        (("--cluster", "--rehearsal", "."), "give one of --rehearsal and --cluster"),
        (("--cluster", "--state", "."), "--cluster needs --prometheus and --state"),
        (("--rehearsal", ".", "--prometheus", "http://p"), "belong to --cluster"),
        (("--cluster", "--state", ".", "--prometheus", "p:9090"), "'p:9090' is not an http address"),
    ],
)
def test_where_it_serves_is_said_once(words: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    done = modelpack("gate", "serve", *words, cwd=tmp_path)
    assert done.code == 2 and problem in done.err
