"""The status changes as Flagger's does, and survives a round trip."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelpack.rollout import Phase, Status, template_hash

RUNNING = Status(Phase.PROGRESSING, 2, 30, 1, "new", "old")


@pytest.mark.parametrize(
    ("phase", "weight", "iterations", "promoted"),
    [
        (Phase.WAITING_PROMOTION, 0, 4, "old"),
        (Phase.PROMOTING, 30, 1, "old"),
        (Phase.FINALISING, 0, 0, "old"),
        (Phase.SUCCEEDED, 0, 0, "new"),
    ],
)
def test_setting_a_phase_resets_what_flagger_resets(phase: Phase, weight: int, iterations: int, promoted: str) -> None:
    status = RUNNING.in_phase(phase, iterations=5)
    assert (status.weight, status.iterations, status.last_promoted) == (weight, iterations, promoted)
    assert status.failed_checks == 2


@pytest.mark.parametrize(
    ("applied", "promoted", "template", "starts"),
    [("", "", "a", True), ("a", "a", "b", True), ("b", "a", "a", False), ("b", "a", "b", False), ("b", "a", "c", True)],
)
def test_only_a_template_neither_applied_nor_promoted_starts_a_canary(
    applied: str, promoted: str, template: str, starts: bool
) -> None:
    assert Status(Phase.FAILED, last_applied=applied, last_promoted=promoted).changed(template) is starts


def test_status_round_trips_and_its_checksum_follows_template_and_attempt() -> None:
    assert Status.from_json(RUNNING.to_json()) == RUNNING
    assert RUNNING.checksum == replace(RUNNING, weight=1, phase=Phase.FAILED).checksum
    assert (
        len({RUNNING.checksum, replace(RUNNING, attempt=1).checksum, replace(RUNNING, last_applied="x").checksum}) == 3
    )


def test_a_templates_hash_depends_on_values_alone() -> None:
    assert template_hash({"a": 1, "b": [2]}) == template_hash({"b": [2], "a": 1})
    assert template_hash({"a": 1}) != template_hash({"a": 2})
