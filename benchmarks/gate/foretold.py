"""A table that holds `modelpack gate simulate` against the simulation here: the same traffic, the same questions."""

from __future__ import annotations

import numpy as np

from benchmarks.gate.judged import by_gate
from benchmarks.gate.shares import rollouts_of
from benchmarks.gate.table import SEED, header, percent, row
from benchmarks.gate.traffic import CLIMB, INTERVALS, SLICES, YARDSTICK
from modelpack.gate.config import parse
from modelpack.gate.drawing import Baseline
from modelpack.gate.simulate import Scenario, Traffic, plan, run

GATE = b"""apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: yardstick}
horizon: 12m
checks:
- {name: errors, type: proportion, total: total, bad: bad, margin: 0, min_sample: 1}
"""
BASELINES = np.linspace(0.003, 0.015, 11)[1::2]  # the middles of five parts of what the yardstick draws from


def foretold(rollouts: int) -> None:
    """The yardstick's steps in four, so that a verdict is acted upon at the end of a slice in both."""
    header("What `gate simulate` says of the yardstick (margin 0)")
    row("", "false", "+0.5 stopped", "+1 stopped", "requests")
    config = parse({"gate.yaml": GATE}, "yardstick")
    weights = tuple(100 * each for each in CLIMB[:5] for _ in range(SLICES))
    traffic = Traffic(YARDSTICK.requests / 60, weights, 60.0 / SLICES)
    assert traffic.canary(60.0 * INTERVALS) == YARDSTICK.requests * sum(CLIMB)

    def simulated(extra: float) -> list[Scenario]:
        worse = {"errors": extra} if extra else {}
        plans = (plan(config, traffic, {"errors": Baseline(float(each))}) for each in BASELINES)
        return [run(each, worse, rollouts // 10, SEED) for each in plans]

    good, half, one = (simulated(extra) for extra in (0.0, 0.005, 0.01))
    shares = (percent(float(np.mean([each.chance("rejected")[0] for each in cell]))) for cell in (good, half, one))
    row("gate simulate", *shares, f"{np.mean([each.canary for each in one]):.0f}")
    whole = [by_gate(rollouts_of(YARDSTICK, extra, rollouts // 2)) for extra in (0.0, 0.005, 0.01)]
    row("as above", *(percent(each.stopped) for each in whole), f"{whole[2].requests:.0f}")


TABLES = (foretold,)
