"""Prometheus' own parser reads every expression of the dashboards."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flagger.dashboards.expressions import expressions
from tests.integration.conftest import available
from tests.integration.servers.process import program

FOLDER = Path(__file__).parents[2] / "flagger" / "dashboards"
VARIABLES = {"namespace": "default", "canary": "mpg", "server": "mpg", "check": "errors"}


@contextmanager
def installed() -> Iterator[str]:
    yield program("promtool", "apt-get install prometheus")


@pytest.fixture(scope="module")
def promtool() -> Iterator[str]:
    """Where promtool is."""
    with available(installed) as found:
        yield found


def check(promtool: str, rules: Path, expressions: list[str]) -> subprocess.CompletedProcess[str]:
    """Have promtool read the expressions as recording rules."""
    records = [{"record": f"dashboard:{number}", "expr": expr} for number, expr in enumerate(expressions)]
    rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": records}]}))  # JSON is YAML
    return subprocess.run([promtool, "check", "rules", str(rules)], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("name", ["model.json", "rollouts.json"])
def test_prometheus_parses_every_expression(promtool: str, tmp_path: Path, name: str) -> None:
    asked = expressions(json.loads((FOLDER / name).read_text()), VARIABLES)
    done = check(promtool, tmp_path / "rules.yaml", [expr for _, expr in asked])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(asked)} rules found" in done.stdout


def test_one_that_does_not_parse_is_found(promtool: str, tmp_path: Path) -> None:
    done = check(promtool, tmp_path / "rules.yaml", ["up", "rate(up)"])
    assert done.returncode != 0
    assert "rate" in done.stdout + done.stderr
