"""What a gate answers that is no gate's answer is its failure, and stops nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack.errors import RemoteError
from modelpack.reconcile.rollouts import Gate
from tests.fakes.gate import fake_gate


@pytest.mark.parametrize("signal", ["live", None, {"stale": True}, {"name": "live", "stale": True, "since": 10**400}])
def test_signals_that_are_none(signal: Any) -> None:
    with fake_gate() as gate:
        gate.signals = [signal]
        with pytest.raises(RemoteError, match="does not answer like a gate"):
            Gate(gate.url).signals("mpg")


@pytest.mark.parametrize("started", ["x", None, 10**400])
def test_rollouts_that_are_none(started: Any) -> None:
    with fake_gate() as gate:
        gate.add(image="r/mpg:v2", primary_image="r/mpg:v1", started=started)
        with pytest.raises(RemoteError, match="does not answer like a gate"):
            Gate(gate.url).of_model("mpg")
