"""`modelpack gate` from the command line: what it serves, and a person's word to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import pytest
import requests

from modelpack.errors import RemoteError
from modelpack.reconcile.rollouts import Gate
from tests.command import modelpack
from tests.fakes.rehearsal import model_server
from tests.integration.servers.gate import GOOD, ProcessScene, Scene

pytest.importorskip("fastapi")


@pytest.fixture
def s(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack, GOOD, model_server(0.1))


def test_a_person_decides_about_a_held_rollout(s: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s.until("confirm-traffic-increase", 200)
    rollout = s.rollouts()[0]["id"]
    words = ("gate", "approve", rollout, "--gate", s.url, "--by", "ada", "--note", "seen in staging")
    early = modelpack(*words, cwd=tmp_path)
    assert early.code == 4 and "is not held but undecided: there is nothing to approve" in early.sentence
    s.folder.write(weight=20)
    s.until("confirm-promotion", 403)
    assert "no request has reached the canary" in s.until("confirm-traffic-increase", 403)
    done = modelpack(*words, cwd=tmp_path)
    assert (done.code, done.out) == (0, f"{rollout}: approved by ada: seen in staging\n")
    whole = s.whole()
    assert (whole["verdict"], whole["final"]) == ("accept", True)
    assert [each["reason"] for each in whole["events"] if each["hook"] == "approval"] == [whole["reason"]]
    assert "approved by ada" in requests.get(f"{s.url}/rollouts/{rollout}/report.html", timeout=5).text
    monkeypatch.setenv("MODELPACK_GATE", s.url)
    assert modelpack("gate", "reject", rollout, "--by", "bob", cwd=tmp_path).code == 0
    assert s.ask("rollback").text == "reject: rejected by bob\n"
    assert modelpack(*words, cwd=tmp_path).code == 4


def test_a_confirmed_promotion_is_not_rejected_any_more(s: Scene, tmp_path: Path) -> None:
    s.until("confirm-traffic-increase", 200)
    s.folder.write(weight=20)
    s.until("confirm-promotion", 403)
    s.until("confirm-traffic-increase", 403)
    words = (s.rollouts()[0]["id"], "--gate", s.url, "--by", "ada")
    assert modelpack("gate", "approve", *words, cwd=tmp_path).code == 0
    assert s.ask("confirm-promotion").status_code == 200
    late = modelpack("gate", "reject", *words, cwd=tmp_path)
    assert late.code == 4 and "its promotion is confirmed already" in late.sentence
    assert "modelpack rollback mpg" in late.sentence and s.whole()["verdict"] == "accept"


def test_a_token_that_no_gate_asks_for_decides_nothing(
    s: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s.until("confirm-traffic-increase", 200)
    monkeypatch.setenv("MODELPACK_GATE_TOKEN", ADA)
    done = modelpack("gate", "reject", s.rollouts()[0]["id"], "--gate", s.url, cwd=tmp_path)
    assert done.code == 2 and "this gate has no tokens" in done.sentence and "--by NAME" in done.sentence


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
        (("--cluster", "--state", "."), "--cluster needs --prometheus, and --state or --database"),
        (("--rehearsal", ".", "--prometheus", "http://p"), "belong to --cluster"),
        (("--cluster", "--state", ".", "--prometheus", "p:9090"), "'p:9090' is not an http address"),
    ],
)
def test_where_it_serves_is_said_once(words: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    done = modelpack("gate", "serve", *words, cwd=tmp_path)
    assert done.code == 2 and problem in done.err


ADA, SETTLE = "a" * 24, "s" * 24


def test_with_tokens_a_person_decides_by_name_and_programs_settle_by_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Guarded(ProcessScene):
        words = ("--anyone-reads", "--log-format", "json", "--tokens", str(tmp_path / "tokens"))

    (tmp_path / "tokens").mkdir()
    for name, token in (("ada", ADA), ("settle", SETTLE)):
        (tmp_path / "tokens" / name).write_text(token + "\n")
    with ExitStack() as stack:
        s = Guarded(tmp_path, stack, GOOD, model_server(0.1))
        s.until("confirm-traffic-increase", 200)  # Flagger has no token
        rollout = s.rollouts()[0]["id"]
        words = ("gate", "reject", rollout, "--gate", s.url)
        anybody = modelpack(*words, "--by", "mallory", cwd=tmp_path)
        assert anybody.code == 4 and "this needs a token" in anybody.sentence
        assert "put one into $MODELPACK_GATE_TOKEN" in anybody.sentence
        assert modelpack(*words, cwd=tmp_path).code == 2
        monkeypatch.setenv("MODELPACK_GATE_TOKEN", "x" * 24)
        assert "this token is not known" in modelpack(*words, cwd=tmp_path).sentence
        digest = "sha256:" + "0" * 64
        with pytest.raises(RemoteError, match="answered 401"):
            Gate(s.url).put_lineage(digest, {})
        monkeypatch.setenv("MODELPACK_GATE_TOKEN", ADA)
        done = modelpack(*words, "--by", "mallory", cwd=tmp_path)
        assert (done.code, done.out) == (0, f"{rollout}: rejected by ada\n")
        monkeypatch.setenv("MODELPACK_GATE_TOKEN", SETTLE)
        s.folder.write(phase="Failed")
        s.ask("post-rollout", phase="Failed")
        gate = Gate(s.url)
        (failed,) = gate.unsettled(["failed"])
        gate.settle(failed, "reverted")
        gate.put_lineage(digest, {})
        assert gate.unsettled(["failed"]) == ()
        assert requests.get(f"{s.url}/api/v1/rollouts", timeout=5).ok
        assert requests.post(f"{s.url}/api/v1/rollouts/{rollout}/settled", json={}, timeout=5).status_code == 401
        assert s.end() == 0
    told = capfd.readouterr().err
    assert ADA not in told and SETTLE not in told
    assert [json.loads(each)["verdict"] for each in told.splitlines() if "verdict" in each][-1] == "reject"


def test_reading_needs_a_token_unless_told_so(tmp_path: Path) -> None:
    class Guarded(ProcessScene):
        environ = MappingProxyType({"MODELPACK_GATE_TOKENS": f"ada={ADA}"})

    with ExitStack() as stack:
        s = Guarded(tmp_path, stack, GOOD, model_server(0.1))
        for path, status in (
            ("api/v1/rollouts", 401),
            ("api/v1/models/mpg", 401),
            ("api/v1/models/mpg/signals", 401),
            ("rollouts/none/report.html", 401),
            ("metrics", 200),
            ("readyz", 200),
            ("", 200),  # the page itself, which has nothing in it
        ):
            assert requests.get(f"{s.url}/{path}", timeout=5).status_code == status, path
        known = {"Authorization": f"Bearer {ADA}"}
        assert requests.get(f"{s.url}/api/v1/rollouts", headers=known, timeout=5).status_code == 200


def test_what_ended_longer_ago_than_it_is_to_keep_is_forgotten(tmp_path: Path) -> None:
    with ExitStack() as stack:
        s = ProcessScene(tmp_path, stack, GOOD, model_server(0.1))
        for number in (1, 2):
            s.folder.write(phase="Progressing")
            s.until("confirm-traffic-increase", 200, checksum=f"c{number}")
            s.folder.write(phase="Failed")
            s.ask("post-rollout", phase="Failed", checksum=f"c{number}")
        newest, oldest = (each["id"] for each in s.rollouts())
        for each in (newest, oldest):  # what failed is kept until Git says so
            assert requests.post(f"{s.url}/api/v1/rollouts/{each}/settled", json={"note": "reverted"}, timeout=5).ok
        time.sleep(1.1)
        assert s.end() == 0
        s.words = ("--keep", "1h")
        s.start()
        time.sleep(1)
        assert [each["id"] for each in s.rollouts()] == [newest, oldest]
        assert s.end() == 0
        s.words = ("--keep", "1s")
        s.start()
        end = time.monotonic() + 10
        while len(s.rollouts()) > 1:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert [each["id"] for each in s.rollouts()] == [newest]  # the newest of a Canary stays
        assert requests.get(f"{s.url}/api/v1/rollouts/{oldest}", timeout=5).status_code == 404
        assert s.end() == 0
        odd = modelpack("gate", "serve", "--rehearsal", str(tmp_path), "--keep", "soon", cwd=tmp_path)
        assert odd.code == 2 and "'soon' is not a duration" in odd.err
