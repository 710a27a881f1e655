"""`./start.sh --train`: the loop before the rollout, as a newcomer runs it. A file of its own runs beside the other."""

from __future__ import annotations

import os
import re
import subprocess
import uuid

from tests.integration.test_start import ROOT, left_behind
from tests.integration.test_start import pytestmark as pytestmark  # it needs the same

TRAINING = ROOT / "var" / "training"


def test_the_loop_before_the_rollout() -> None:
    mark = str(uuid.uuid4())
    words, environ = [ROOT / "start.sh", "--train"], {**os.environ, "MARK": mark}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    ended = re.findall(r"^train: ended: (v\d) (did not pass|passed)", done.stdout, re.MULTILINE)
    assert [each for each in ended if each[1] == "did not pass"] == [("v3", "did not pass"), ("v4", "did not pass")]
    named = ["git", f"--git-dir={TRAINING / 'git' / 'mpg.git'}", "show", "main:manifests/mpg/deployment.yaml"]
    assert "models/mpg:v2@sha256:" in subprocess.run(named, check=True, capture_output=True, text=True).stdout
    assert "git:62cb7f" in (TRAINING / "lineage.html").read_text()
    assert left_behind(f"MARK={mark}") == []
