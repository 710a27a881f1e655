"""Flagger still does what was recorded: another version of it shows its differences here, spec by spec."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.cluster.traces.files import load
from tests.cluster.traces.record import record
from tests.cluster.traces.specs import SPECS, Spec
from tests.integration.conftest import available

pytestmark = pytest.mark.xdist_group("control-plane")


@pytest.fixture(scope="module")
def courses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """What Flagger does now with all specs at once."""
    folder, specs = tmp_path_factory.mktemp("traces"), {spec.name: spec for spec in SPECS}
    with available(lambda: nullcontext(record(specs, folder))) as recorded:
        yield recorded


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_flagger_takes_the_recorded_course(spec: Spec, courses: dict[str, list[str]]) -> None:
    assert courses[spec.name] == load(spec.name)
