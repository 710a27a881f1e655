from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging, sys
from modelpack.gate.logs import begin
begin(sys.argv[1])
log = logging.getLogger("modelpack.gate.judging")
log.info("mpg-1: accept, %s", "all is well\\n", extra={"rollout": "mpg-1", "weight": 50.0})
logging.getLogger("uvicorn").info("not shown")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("a bug")
"""


def lines(kind: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, timeout=30, check=True)
    return ran.stderr.splitlines()


def test_json_is_one_object_a_line_with_what_it_is_about() -> None:
    said, failed = map(json.loads, lines("json"))
    assert said.pop("time").endswith("Z")
    assert said == {
        "level": "info",
        "logger": "modelpack.gate.judging",
        "message": "mpg-1: accept, all is well\n",
        "rollout": "mpg-1",
        "weight": 50.0,
    }
    assert failed["level"] == "error" and "ZeroDivisionError" in failed["exception"]


def test_text_is_for_people() -> None:
    assert lines("text")[0].endswith(" INFO mpg-1: accept, all is well")
