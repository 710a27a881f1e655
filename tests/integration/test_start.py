"""`./start.sh`, as a newcomer runs it: the whole job, twice, and cut short."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "var" / "example"
NEEDED = ("sklearn", "vega_datasets", "envoy", "fastapi")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED) and os.environ.get("MODELPACK_TESTS") != "all",
    reason="needs the extra `rehearse` and the group `example`",
)


def git(*words: str) -> str:
    command = ["git", f"--git-dir={EXAMPLE / 'git' / 'mpg.git'}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def left_behind(mark: str) -> list[str]:
    """The processes that a run with this mark in its environment started, and that are still there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return found


@pytest.mark.parametrize(("words", "code", "said"), [(["--help"], 0, "--keep"), (["--frob"], 2, "unknown word --frob")])
def test_words(words: list[str], code: int, said: str) -> None:
    done = subprocess.run([ROOT / "start.sh", *words], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_the_whole_job_then_again_and_interrupted(tmp_path: Path) -> None:
    mark = f"MARK={uuid.uuid4()}"
    environ = {**os.environ, "MARK": mark.partition("=")[2]}
    started = time.monotonic()
    done = subprocess.run([ROOT / "start.sh", "--keep"], env=environ, capture_output=True, text=True, check=False)
    took = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    assert took < 240
    page = re.findall(r"^== Live page: (\S+)", done.stdout, re.MULTILINE)[0]

    subjects = git("log", "--reverse", "--format=%s").splitlines()
    assert [re.findall(r"\bv[1-4]\b", subject)[-1:] for subject in subjects[1:4]] == [["v1"], ["v2"], ["v3"]]
    assert git("log", "--format=%an").count("\n") == len(subjects) == 7, "v1 to v4 by commit, two reverts"
    assert "image: registry.local/models/mpg:v2@sha256:" in git("show", "main:manifests/mpg/deployment.yaml")
    assert re.findall(r'version: "?(\w+)', git("show", "main:model-images/mpg/rejected.yaml")) == ["v3", "v4"]

    rollouts = requests.get(f"{page}/api/v1/rollouts", timeout=10).json()["rollouts"]
    assert [(each["state"], each["settled"]) for each in rollouts[:2]] == [("failed", True)] * 2
    assert len(list((EXAMPLE / "reports").glob("v*/report.json"))) == 4
    assert len(left_behind(mark)) == 1, "only the gate"

    by_hand = re.findall(r"^  (MODELPACK_VIA=.*)$", done.stdout, re.MULTILINE)[0]
    rehearsed = subprocess.run(["bash", "-c", by_hand], cwd=ROOT, capture_output=True, text=True, check=False)
    assert rehearsed.stdout.startswith("mpg v2: nothing to do"), rehearsed.stderr

    log = tmp_path / "second.log"
    with log.open("w") as output:
        again = subprocess.Popen([ROOT / "start.sh"], env=environ, stdout=output, stderr=output, start_new_session=True)
        until = time.monotonic() + 240
        while "== v2" not in log.read_text():
            assert again.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.2)
        time.sleep(3)
        os.killpg(again.pid, signal.SIGINT)  # as a terminal's Ctrl-C
        assert again.wait(30) == 130, log.read_text()
    assert left_behind(mark) == []
    with pytest.raises(requests.ConnectionError):
        requests.get(page, timeout=5)
