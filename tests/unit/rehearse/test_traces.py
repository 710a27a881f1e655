"""`tick()` takes the course that Flagger took, for every recorded trace."""

from __future__ import annotations

import pytest

from modelpack.rollout.canary import HOOK_TYPES
from tests.cluster.traces.files import RECORDED, load
from tests.cluster.traces.lines import call_line, has, normal
from tests.cluster.traces.replay import replay
from tests.cluster.traces.specs import SPECS, Spec


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_rehearsal_takes_the_course_of_flagger(spec: Spec) -> None:
    assert replay(spec) == load(spec.name)


def test_every_trace_has_its_spec() -> None:
    assert {file.stem for file in RECORDED.iterdir()} == {spec.name for spec in SPECS}


def test_traces_cover_every_type_of_webhook_passing_and_not() -> None:
    said: dict[str, set[bool]] = {}
    for line in (line for spec in SPECS for line in load(spec.name) if line.startswith("call")):
        said.setdefault(line.split()[1].partition(".")[0], set()).add(line.endswith("-> 200"))
    assert said == {kind: {True, False} for kind in HOOK_TYPES}


def test_lines_compare_what_no_two_hashers_agree_on_and_leave_repeats_out() -> None:
    body = {"name": "mpg", "namespace": "one", "phase": "Progressing", "metadata": {"timestamp": "1", "model": "mpg"}}
    lines = [call_line("/one/event", {**body, "checksum": hash}, "200") for hash in ("ab", "ab", "9f", "ab")]
    first, second = (f'call event Progressing {name} {{"model": "mpg"}} -> 200' for name in ("c1", "c2"))
    assert normal(lines) == [first, second, first]
    assert has(first, "Progressing c1") and not has(first, "Progress")


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("mpg-primary.one not ready: waiting for rollout to finish", False),
        ('canary deployment mpg.one not ready: deployment "mpg" exceeded its progress deadline', False),
        ("Waiting for the canary: nothing answers", False),
        ("Promotion of mpg.one failed, primary not ready: mpg-primary.one not ready: deployment", True),
        ("Canary failed! Scaling down mpg.one", True),
    ],
)
def test_that_a_server_is_not_ready_yet_is_no_part_of_a_course(message: str, kept: bool) -> None:
    body = {"name": "mpg", "namespace": "one", "phase": "Progressing", "checksum": "ab"}
    line = call_line("/one/event", {**body, "metadata": {"eventMessage": message}}, "200")
    assert normal([line]) == (["call event Progressing c1 {} -> 200"] if kept else [])


@pytest.mark.parametrize("wrong", [{"namespace": "other"}, {"name": "other"}, {"unknown": 1}])
def test_a_payload_with_another_name_or_more_fields_is_noticed(wrong: dict[str, object]) -> None:
    body = {"name": "mpg", "namespace": "one", "phase": "Failed", "checksum": "ab"}
    with pytest.raises(ValueError, match="was sent"):
        call_line("/one/rollout", {**body, **wrong}, "200")
