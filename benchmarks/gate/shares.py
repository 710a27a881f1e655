"""Tables about counts of bad requests: the yardstick, false alarms, what is caught, and both modes."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np

from benchmarks.gate.judged import NEVER, by_flagger, by_gate, by_mixture
from benchmarks.gate.table import SEED, header, percent, row
from benchmarks.gate.traffic import EVERY, TOGETHER, YARDSTICK, Rollouts, Traffic, simulate
from modelpack.gate.checks.segments import Segments, split
from modelpack.gate.statistics import spending
from modelpack.gate.statistics.share import EXPECTED, evidence


def rollouts_of(traffic: Traffic, extra: float, rollouts: int) -> Rollouts:
    return simulate(traffic, extra, rollouts, np.random.default_rng(SEED))


def yardstick(rollouts: int) -> None:
    header("Detection (margin 0, promotion at the horizon), against Flagger's thresholds on the same traffic")
    row("", "false", "+0.5 stopped", "requests", "+1 stopped", "requests")
    seen = {extra: rollouts_of(YARDSTICK, extra, rollouts) for extra in (0.0, 0.005, 0.01)}
    for name, judge in (
        ("gate", by_gate),
        ("gate, overdispersion: auto", lambda each: by_gate(each, overdispersion=None)),
        ("normal mixture", by_mixture),
        ("Flagger, 98.5 %, 3 checks", by_flagger),
        ("Flagger, 99 %, 3 checks", lambda each: by_flagger(each, 0.99)),
        ("Flagger, 98.5 %, 1 check", lambda each: by_flagger(each, checks=1)),
        ("3 of 5 below 98.5 %, no hold", lambda each: by_flagger(each, holds=False)),
    ):
        good, half, one = (judge(each) for each in seen.values())
        row(
            name,
            percent(good.stopped),
            percent(half.stopped),
            f"{half.requests:.0f}",
            percent(one.stopped),
            f"{one.requests:.0f}",
        )


def acceptance(rollouts: int) -> None:
    header("Acceptance (margin 1 point, at least 500 canary requests)")
    row("canary is worse by", "accepted", "rejected", "by Flagger's time", "Flagger promotes", "Flagger stops")
    for extra in (0.0, 0.005, 0.01, 0.015, 0.02):
        seen = rollouts_of(YARDSTICK, extra, rollouts)
        gate, flagger = by_gate(seen, 0.01, min_sample=500), by_flagger(seen)
        promoted = flagger.accepted < NEVER
        # of the rollouts that Flagger promotes, those that the gate has accepted by then
        in_time = float((gate.accepted <= flagger.accepted)[promoted].mean()) if promoted.any() else float("nan")
        row(
            f"{100 * extra:g} points",
            percent(gate.let_through),
            percent(gate.stopped),
            percent(in_time),
            percent(float(promoted.mean())),
            percent(flagger.stopped),
        )


def false_alarms(rollouts: int) -> None:
    header("Good models rejected at any of 48 looks, and what is caught there")
    row("baseline", "gate", "Flagger", "gate, +1 point", "requests", "Flagger, +1", "requests")
    for traffic in EVERY:
        good, bad = rollouts_of(traffic, 0.0, rollouts), rollouts_of(traffic, 0.01, rollouts // 5)
        gate, flagger = by_gate(bad), by_flagger(bad)
        row(
            traffic.name,
            percent(by_gate(good).stopped),
            percent(by_flagger(good).stopped),
            percent(gate.stopped),
            f"{gate.requests:.0f}",
            percent(flagger.stopped),
            f"{flagger.requests:.0f}",
        )


def at_the_margin(rollouts: int) -> None:
    header("Wrong verdicts at any of 48 looks, of a canary that is worse by exactly the margin, 1 point")
    row("baseline", "rejected", "accepted")
    for traffic in EVERY:
        found = by_gate(rollouts_of(traffic, 0.01, rollouts), 0.01)
        row(traffic.name, percent(found.stopped), percent(float((found.accepted < NEVER).mean())))


def together(rollouts: int) -> None:
    header("Requests that fail together (margin 0): good models rejected, and +1 point stopped")
    row("bad requests come", "taken as 1", "+1 stopped", "auto", "+1 stopped", "told the truth", "+1 stopped")
    for traffic in TOGETHER:
        good, bad = rollouts_of(traffic, 0.0, rollouts), rollouts_of(traffic, 0.01, rollouts // 5)
        cells = []
        for given in (1.0, None, float(traffic.together) if traffic.sticky else 1.0):
            cells += [percent(by_gate(each, overdispersion=given).stopped) for each in (good, bad)]
        row(traffic.name, *cells)


def segments(rollouts: int) -> None:
    header(
        "Four segments of equal size and all traffic, as the gate splits alpha (margin 0): rejected at any of 48 looks"
    )
    row("canary", "by all traffic", "by a segment", "by either")
    everything, each_of = split(Segments("region", ("a", "b", "c", "d")), 0.05)
    quarter = replace(YARDSTICK, requests=YARDSTICK.requests // 4)
    for name, extra in (("as good", 0.0), ("+2 points in one of them", 0.02), ("+0.5 points in all", 0.005)):
        rng = np.random.default_rng(SEED)
        number = rollouts if not extra else rollouts // 5
        parts = [simulate(quarter, extra if k == 0 or extra < 0.01 else 0.0, number, rng) for k in range(4)]
        names = ("canary", "canary_bad", "primary", "primary_bad")
        whole = replace(parts[0], **{key: sum(getattr(each, key) for each in parts) for key in names})
        by_all = by_gate(whole, alpha=everything).rejected < NEVER
        by_one = np.any([by_gate(each, alpha=each_of).rejected < NEVER for each in parts], axis=0)
        row(name, *(percent(float(each.mean())) for each in (by_all, by_one, by_all | by_one)))


def spendings(rollouts: int) -> None:
    header("How alpha is spent over the horizon, as a power of time (margin 0)")
    row("power", "false", "+0.5 stopped", "requests", "+1 stopped", "requests")
    seen = [rollouts_of(YARDSTICK, extra, rollouts // 5) for extra in (0.0, 0.005, 0.01)]
    for power in (0.3, 0.5, 1.0, 2.0):
        with mock.patch.object(spending, "POWER", power):
            good, half, one = (by_gate(each) for each in seen)
        row(
            f"{power:g}",
            percent(good.stopped),
            percent(half.stopped),
            f"{half.requests:.0f}",
            percent(one.stopped),
            f"{one.requests:.0f}",
        )


def bounds(rollouts: int) -> None:
    header("One share against a fixed bound (slo), 200 requests a slice: seen beyond it at any of 48 looks")
    row("bound", "wrongly above", "wrongly below", "1.5 times: above", "/ 1.5: below")
    for share in (0.001, 0.01, 0.3):
        rng = np.random.default_rng(SEED)
        total = np.cumsum(rng.poisson(200, (rollouts, NEVER)), axis=1)
        cells = []
        for true in (share, 1.5 * share, share / 1.5):
            bad = np.cumsum(rng.binomial(np.diff(total, axis=1, prepend=0), true), axis=1)
            sides = []
            for counted, against in ((bad, share), (total - bad, 1 - share)):
                seen = evidence(counted, total, against, EXPECTED / min(share, 1 - share)) >= -np.log(0.05)
                sides.append(float(seen.any(axis=1).mean()))
            cells += sides if true == share else [max(sides)]
        row(f"{100 * share:g} %", *(percent(each) for each in cells))


TABLES = (yardstick, acceptance, together, false_alarms, at_the_margin, segments, spendings, bounds)
