"""Rollouts as the gate's API tells them, one of each kind: what the page is shown in its tests.

Numbers come from a small deterministic model of a rollout: the golden set is answered after 4 s, Flagger raises the
weight by 10 % every 12 s up to 50 %, requests arrive at `rate` a second, an interval narrows with the root of its
sample. Each function takes `started` (unix seconds), so that a test can let a rollout run now.
"""

from __future__ import annotations

import math
from typing import Any

Rollout = dict[str, Any]

STARTED = 1_790_000_000.0
HORIZON = 120.0
GOLDEN_DONE = 4
DIGITS = "0123456789abcdef"
ASKING = "golden: 79 examples are being asked"


def reference(version: int) -> str:
    return f"registry.local/models/mpg:v{version}@sha256:{DIGITS[version] * 20}{DIGITS * 2}{DIGITS[:12]}"


def _weight(second: float) -> int:
    return 0 if second < 6 else min(50, 10 * (1 + int((second - 6) / 12)))


def _comparison(started: float, seconds: int, canary: float, primary: float, rate: float = 40, **check: Any) -> Rollout:
    """A comparison after `seconds` of a rollout, whose true shares of bad answers are `canary` and `primary`."""
    margin, least, history, sample = check["margin"], check["min_sample"], [], 0.0
    for second in range(6, seconds):
        sample += rate * _weight(second) / 100
        estimate = max(-primary, canary - primary + 0.1 * math.sin(second / 3) / math.sqrt(sample))
        width = 1.6 / math.sqrt(sample)
        low, high = max(-1.0, estimate - width), min(1.0, estimate + width)
        accept = high < margin and sample >= least
        point = {"t": started + second, "weight": _weight(second), "estimate": estimate, "low": low, "high": high}
        history.append(
            {**point, "n": int(sample), "verdict": "reject" if low > margin else "accept" if accept else "undecided"}
        )
    result = {
        "type": "proportion",
        "better": "lower",
        "counts": "requests",
        "share": True,
        "alpha": 0.0167,
        "unit": "",
        "limit": None,
        "verdict": "undecided",
        "reason": f"{100 * margin:g} points are allowed",
    }
    result |= {"estimate": None, "low": None, "high": None, "n": 0, "canary": None, "primary": None, "history": history}
    if history:
        last = history[-1]
        points = "{estimate:+.2f} points ({low:+.2f} to {high:+.2f})".format(
            **{k: 100 * last[k] for k in ("estimate", "low", "high")}
        )
        few = f"{last['n']} of at least {least} canary requests seen"
        start = {
            "reject": "the canary has more of them",
            "accept": "no worse than allowed",
            "undecided": few if last["n"] < least else "the interval is still too wide",
        }[last["verdict"]]
        result |= {key: last[key] for key in ("estimate", "low", "high", "n", "verdict")}
        result |= {
            "canary": canary,
            "primary": primary,
            "reason": f"{start}: {points}, {100 * margin:g} points are allowed",
        }
    return {**result, **check}


def _errors(started: float, seconds: int, canary: float = 0.004, **check: Any) -> Rollout:
    fixed = {
        "name": "errors",
        "statistic": "errors",
        "measures": "share of bad requests",
        "margin": 0.06,
        "min_sample": 300,
    }
    return _comparison(started, seconds, canary, 0.003, **{**fixed, **check})


def _latency(started: float, seconds: int, **check: Any) -> Rollout:
    fixed = {
        "name": "latency",
        "type": "latency",
        "statistic": "slower-than",
        "measures": "share of answers slower than 100 ms",
        "limit": 100,
        "unit": "ms",
        "margin": 0.08,
        "min_sample": 300,
    }
    return _comparison(started, seconds, 0.021, 0.024, **{**fixed, **check})


def _golden(started: float, canary: float, primary: float, done: bool = True) -> Rollout:
    estimate = {"estimate": canary - primary, "low": canary - primary - 0.31, "high": canary - primary + 0.29}
    verdict = "pending" if not done else "accept" if canary <= 3 else "reject"
    seen = f"mae is {canary:.4g} mpg (primary {primary:.4g} mpg)"
    point = {"t": started + GOLDEN_DONE, "weight": 0, "n": 79, "verdict": verdict, **estimate}
    reasons = {
        "pending": "79 examples are being asked",
        "accept": f"{seen}, within the floor of 3 mpg and the margin",
        "reject": f"{seen}, the floor is 3 mpg",
    }
    return {
        "name": "golden", "type": "golden", "statistic": "mae", "unit": "mpg", "share": False, "counts": "examples",
        "measures": "mean absolute error on the golden set", "better": "lower", "alpha": 0.0167,
        "limit": 3.0, "margin": 0.3,
        "min_sample": 79, "verdict": verdict, "n": 79 if done else 0, **(estimate if done else dict.fromkeys(estimate)),
        "canary": canary if done else None, "primary": primary if done else None, "history": [point] if done else [],
        "reason": reasons[verdict],
    }  # fmt: skip


def _examples(scale: float) -> list[Rollout]:
    """The worst 20; a wrong unit is a `scale` far from 1."""
    rows = []
    for i in range(20):
        expected, sign = round(14 + 31 * ((i * 7) % 20) / 20, 1), (-1) ** i
        canary, primary = round(expected * scale + sign * (3.9 - 0.12 * i), 2), round(expected + sign * 2.6, 2)
        row = {"id": f"car-{100 + 13 * i}", "segment": ("usa", "europe", "japan")[i % 3], "expected": expected}
        rows.append({**row, "canary": canary, "primary": primary, "error": round(abs(canary - expected), 2)})
    return sorted(rows, key=lambda row: -row["error"])


def _events(started: float, seconds: int, reason: str) -> list[Rollout]:
    """Flagger's questions: each second for a rollback, and for more traffic until the weight is at its maximum."""
    event = {"phase": "Progressing", "message": ""}
    events = [
        {
            **event,
            "t": started,
            "hook": "event",
            "message": "New revision detected! Scaling up mpg.default",
            "answer": 200,
            "reason": "",
        }
    ]
    for second in range(1, seconds):
        asking = second < GOLDEN_DONE
        event |= {"t": started + second, "reason": ASKING if asking else reason}
        events.append({**event, "hook": "rollback", "answer": 403})
        if _weight(second) < 50:
            events.append({**event, "hook": "confirm-traffic-increase", "answer": 403 if asking else 200})
    return events


def _rollout(
    version: int, seconds: int, started: float, checks: list[Rollout], traffic: bool = True, **rest: Any
) -> Rollout:
    weights = [{"t": started, "weight": 0}]
    for second in range(seconds if traffic else 0):
        if _weight(second) != weights[-1]["weight"]:
            weights.append({"t": started + second, "weight": _weight(second)})
    verdict, active = rest["verdict"], rest.get("state", "active") == "active"
    reason = "; ".join(f"{check['name']}: {check['reason']}" for check in checks if check["verdict"] == verdict)
    rest = {"state": "active", "phase": "Progressing", "reason": reason, **rest}
    events = _events(started, seconds - 1, rest["reason"])
    if verdict == "reject" or rest["state"] == "promoted":
        hook = "rollback" if verdict == "reject" else "confirm-promotion"
        events.append({**events[-1], "t": started + seconds - 1, "hook": hook, "answer": 200, "reason": rest["reason"]})
        events.append(
            {**events[-1], "t": started + seconds, "hook": "post-rollout", "phase": rest["phase"], "reason": ""}
        )
    return {
        "id": f"mpg-v{version}-{DIGITS[version] * 4}c0de", "namespace": "default", "name": "mpg", "model": "mpg",
        "checksum": DIGITS[version] * 8, "image": reference(version), "primary_image": reference(version - 1),
        "weight": weights[-1]["weight"] if active else 0, "final": False, "settled": False, "settled_note": "",
        "started": started, "ended": None if active else started + seconds, "horizon": HORIZON, "alpha": 0.05,
        "checks": checks, "weights": weights, "events": events, "golden": [], **rest,
    }  # fmt: skip


def pending(started: float = STARTED) -> Rollout:
    checks = [_golden(started, 0, 0, done=False), _errors(started, 3), _latency(started, 3)]
    return _rollout(2, 3, started, checks, verdict="pending", reason=ASKING)


def undecided(seconds: int = 40, started: float = STARTED) -> Rollout:
    checks = [_golden(started, 2.41, 2.83), _errors(started, seconds), _latency(started, seconds, min_sample=2000)]
    return _rollout(2, seconds, started, checks, verdict="undecided", golden=_examples(1.0))


def promoted(started: float = STARTED) -> Rollout:
    checks = [_golden(started, 2.41, 2.83), _errors(started, 88), _latency(started, 88)]
    ended = {"state": "promoted", "phase": "Succeeded", "settled": True}
    return _rollout(2, 92, started, checks, verdict="accept", golden=_examples(1.0), **ended)


def rejected_golden(started: float = STARTED) -> Rollout:
    checks = [_golden(started, 17.62, 2.41), _errors(started, 3), _latency(started, 3)]
    ended = {"state": "failed", "phase": "Failed", "verdict": "reject", "traffic": False}
    return _rollout(3, 6, started, checks, golden=_examples(0.43), **ended)


def rejected_traffic(started: float = STARTED) -> Rollout:
    checks = [_golden(started, 2.44, 2.41), _errors(started, 34, 0.2), _latency(started, 34)]
    note = "reverted default/mpg to v2 in commit 3f9c2ab41d; v4 is on the rejected list"
    ended = {"state": "failed", "phase": "Failed", "verdict": "reject", "settled": True, "settled_note": note}
    return _rollout(4, 36, started, checks, golden=_examples(1.02), primary_image=reference(2), **ended)


def held(started: float = STARTED) -> Rollout:
    checks = [_golden(started, 2.41, 2.83), _errors(started, 126, rate=0.6), _latency(started, 126, rate=0.6)]
    waiting = "; ".join(f"{check['name']}: {check['reason']}" for check in checks[1:])
    reason = f"the horizon of {HORIZON:g} s is over without a decision: {waiting}"
    return _rollout(2, 127, started, checks, verdict="hold", reason=reason, final=True, golden=_examples(1.0))


SAMPLES = {
    "pending": pending(), "undecided": undecided(), "promoted": promoted(),
    "rejected-golden": rejected_golden(), "rejected-traffic": rejected_traffic(), "held": held(),
}  # fmt: skip


def many(number: int) -> list[Rollout]:
    """A list as `GET /api/v1/rollouts` has it, newest first."""
    models, samples = ("mpg", "churn", "ranking-eu"), list(SAMPLES.values())
    return [
        {**samples[i % 6], "id": f"r{i:04d}", "model": models[i % 3], "started": STARTED - 3600 * i}
        for i in range(number)
    ]
