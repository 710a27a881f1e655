"""A whole rehearsal, with real servers and a real Envoy, takes the course that was recorded from Flagger."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from modelpack.rehearse.outcome import Moment, Result
from modelpack.rehearse.session import Rehearsal, Settings
from modelpack.rehearse.state import State
from modelpack.rehearse.traffic import golden_traffic
from tests.cluster.traces.files import load
from tests.cluster.traces.hooks import addressed, scripted_hooks
from tests.cluster.traces.lines import normal
from tests.cluster.traces.specs import SPECS
from tests.fakes import serving
from tests.fakes.scripted_gate import scripted_gate
from tests.fakes.serving import GATE, GOLDEN, Shelf
from tests.integration.test_rehearse import Cluster


@pytest.mark.parametrize("name", ["step-weight", "blue-green", "pre-rollout-recovers", "rollback-waiting-promotion"])
def test_a_rehearsal_asks_and_moves_as_flagger_did(name: str, tmp_path: Path) -> None:
    """Events are left aside: Flagger waits for nothing here, the rehearsal for real servers, and both tell so."""
    (spec,) = (spec for spec in SPECS if spec.name == name)
    shelf, course = Shelf(), list[str]()

    def moved(moment: Moment) -> None:
        if " -> " in moment.message:
            course.append(f"status {moment.status.phase.value}")

    with scripted_hooks({name: spec}, lambda name, line: course.append(line)) as addresses:
        text = addressed(yaml.safe_dump(spec.canary()), addresses)
        for version in ("v1", "v2"):
            settings = Settings(golden_traffic(GATE.encode(), GOLDEN.encode(), "golden.jsonl"), 50, 25, 60)
            plan, image = serving.plan(version, canary=text), serving.image(version)
            steps = {"unpack": shelf.unpack, "export": shelf.export, "watch": moved}
            with Rehearsal(plan, image, "c0ffee", State(tmp_path), settings, **steps) as rehearsal:  # type: ignore[arg-type]
                rehearsal.run()
    assert _told(course) == _told(load(name))


def _told(lines: list[str]) -> list[str]:
    """The hooks and the changes of phase."""
    kept, phase = list[str](), ""
    for line in lines:
        if line.startswith("call") and not line.startswith("call event"):
            kept.append(line)
        elif line.startswith("status") and line.split()[1] != phase:
            phase = line.split()[1]
            kept.append(phase)
    return normal(kept)


def test_a_run_after_a_failure_starts_though_the_primary_was_not_ready_for_a_moment(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, v1={"blinks": 2})  # in the tick that should start the run
    with scripted_gate() as gate:
        cluster.run("v1", gate)
        gate.answer = lambda hook, body: True  # a rollback too
        assert cluster.run("v2", gate).result is Result.ROLLED_BACK
        gate.answer = lambda hook, body: hook != "rollback"
        assert cluster.run("v3", gate, timeout=20).result is Result.PROMOTED
