"""`modelpack status` as people call it: on a running rehearsal with its real gate, on a terminal, without a cluster."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import Done, argv, modelpack
from tests.fakes.rehearsal import CLUSTER
from tests.integration.servers.process import free_port
from tests.integration.test_rehearse_cli import Desk

# a gate that asks for more requests than there will be: the rollout climbs to its last weight and waits there
GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 24h
checks:
- name: errors
  type: proportion
  total: envoy_cluster_upstream_rq_xx{CLUSTER}
  bad: envoy_cluster_upstream_rq_xx{CLUSTER,envoy_response_code_class="5"}
  margin: 0.02
  min_sample: 10000000
""".replace("CLUSTER", CLUSTER)
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: "https://127.0.0.1:%d"}}]
users: [{name: me, user: {token: hush-hush}}]
"""


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[tuple[Desk, subprocess.Popen[str]]]:
    """A rollout of v2 beside v1, under way until somebody ends it."""
    desk = Desk(tmp_path)
    assert desk.rehearse()[0] == 0
    desk.commit("v2", gate=GATE)
    traffic = tmp_path / "traffic.jsonl"
    traffic.write_text('{"method": "POST", "path": "/predict", "body": {"x": 1}}\n')
    program = desk.start("--traffic", str(traffic), "--rate", "100", "--no-settle")
    try:
        yield desk, program
    finally:
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=20)


def status(desk: Desk, *words: str) -> Done:
    command = ("status", "--state", desk.state, "--repo", desk.repo, *words)
    return modelpack(*command, cwd=desk.repo.parent, env=desk.environ)


def until(look: Callable[[], dict[str, Any]], done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    end = time.monotonic() + 30
    while not done(value := look()):
        assert time.monotonic() < end, value
        time.sleep(0.2)
    return value


def row(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"{label} "))


def test_a_rehearsal_from_under_way_to_interrupted(rehearsal: tuple[Desk, subprocess.Popen[str]]) -> None:
    desk, program = rehearsal
    watch = subprocess.Popen(
        argv("status", "--state", desk.state, "--repo", desk.repo, "--watch", "--json"),
        env=desk.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    value = until(
        lambda: json.loads(status(desk, "mpg", "--json").out),
        lambda seen: (
            seen["phase"] == "WaitingPromotion" and (seen["gate"] or {}).get("checks", [{}])[0].get("n", 0) > 0
        ),
    )
    check = value["gate"]["checks"][0]
    assert (value["primary"]["version"], value["canary"]["version"], value["weight"]) == ("v1", "v2", 50)
    assert (value["git"]["version"], value["git"]["says"]) == ("v2", "which the canary runs")
    assert (value["gate"]["verdict"], check["name"], value["next"]["waitsFor"]) == ("undecided", "errors", "gate")
    assert check["low"] < check["estimate"] < check["high"]
    assert check["nPrimary"] > 0
    assert any("Advance canary weight 50" in each["message"] for each in value["events"])

    desk.commit("v3", gate=GATE)
    shown = status(desk)
    assert shown.code == 0
    assert row(shown.out, "Git").startswith("Git      names v3, not yet applied; main ")
    assert row(shown.out, "next").startswith("next     waits for the gate: errors: ")
    assert max(map(len, shown.out.splitlines())) <= 80

    assert watch.stdout
    phases = [""]
    late = threading.Timer(20, watch.kill)
    late.start()
    while phases[-1] != "WaitingPromotion" and (line := watch.stdout.readline()):
        phases.append(json.loads(line)["phase"])
    late.cancel()
    assert phases[-1] == "WaitingPromotion"
    watch.send_signal(signal.SIGINT)
    _, words = watch.communicate(timeout=20)
    assert (watch.returncode, words) == (130, "\ninterrupted\n")

    program.send_signal(signal.SIGINT)
    program.wait(timeout=20)
    ended = status(desk)
    assert ended.code == 0
    assert row(ended.out, "next").startswith("next     nothing under way: the rehearsal has ended")
    assert row(ended.out, "gate") == "gate     cannot be reached (ended with its rehearsal)"


def test_after_a_rehearsal_its_report_speaks_for_the_gate(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.rehearse()[0] == 0
    gate = GATE.replace("min_sample: 10000000", "min_sample: 1").replace("0.02", "0.9")
    desk.commit("v2", gate=gate)
    traffic = tmp_path / "traffic.jsonl"
    traffic.write_text('{"method": "POST", "path": "/predict", "body": {"x": 1}}\n')
    code, _, err = desk.rehearse("--traffic", str(traffic), "--rate", "200")
    assert code == 0, err
    shown = status(desk).out
    assert row(shown, "Git").startswith("Git      names v2, which serves; ")
    assert row(shown, "gate").startswith("gate     accept, promoted: v2 (mpg-")
    assert row(shown, "next") == "next     nothing under way"


def test_on_a_terminal_it_draws_again_until_ctrl_c_and_leaves_it_clean(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.rehearse()[0] == 0
    leader, follower = pty.openpty()
    program = subprocess.Popen(
        argv("status", "--state", desk.state, "--watch"),
        env={**desk.environ, "TERM": "xterm"}, cwd=tmp_path,
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    seen, end = b"", time.monotonic() + 30
    while seen.count(b"default/mpg") < 2 and time.monotonic() < end:
        if select.select([leader], [], [], 0.2)[0]:
            seen += os.read(leader, 65536)
    assert seen.count(b"default/mpg") == 2, seen
    program.send_signal(signal.SIGINT)
    assert program.wait(timeout=20) == 130
    while select.select([leader], [], [], 0.2)[0]:
        try:
            seen += os.read(leader, 65536)
        except OSError:  # Linux says so when the last one has left
            break
    os.close(leader)
    assert b"not asked (no --repo)" in seen
    assert b"Traceback" not in seen
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")  # the cursor is back


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--state", "none"), 3, "holds no rehearsal"),
        (("--state", "none", "--context", "here"), 2, "--state: is a rehearsal's, --context a cluster's"),
        ((), 5, "the API server cannot be reached"),
        (("--watch",), 5, "the API server cannot be reached"),
        (("--context", "there"), 2, "there"),
    ],
)
def test_what_cannot_be_looked_at_is_one_sentence(
    tmp_path: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(KUBECONFIG % free_port())
    done = modelpack("status", *words, cwd=tmp_path, env={"KUBECONFIG": str(config)})
    assert (done.code, done.out) == (code, "")
    assert sentence in done.sentence
    assert "hush" not in done.err


def test_a_gates_address_with_a_password_does_not_show_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.rehearse()[0] == 0
    for url in (f"http://me:hush-hush@127.0.0.1:{free_port()}", "nonsense://me:hush-hush@x"):
        done = status(desk, "--gate", url)
        assert done.code == 0
        assert "gate     cannot be reached (" in done.out
        assert "hush" not in done.out + done.err
