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
BUDGET = (
    "A version as good as it should be is rejected by chance in at most 5 % of rollouts: golden 1.67 %, errors 1.67 %."
)
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
        "reason": f"0 of at least {least} requests of the canary are there",
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
        "reason": reasons[verdict], "method": "The same examples are sent to both versions, and compared in pairs.",
        "parts": [_part(name, "accept" if verdict == "accept" else "reject", canary - primary, n, canary, primary)
                  for name, n in (("europe", 22), ("japan", 27), ("usa", 30))] if done else [],
    }  # fmt: skip


def _part(name: str, verdict: str, estimate: float, n: int, canary: Any = None, primary: Any = None) -> Rollout:
    width = 1.6 / math.sqrt(n)
    bounds = {"estimate": estimate, "low": estimate - width, "high": estimate + width}
    return {"name": name, "verdict": verdict, **bounds, "n": n, "canary": canary, "primary": primary, "n_primary": n}


def _examples(scale: float) -> list[Rollout]:
    """The worst 20; a wrong unit is a `scale` far from 1."""
    rows = []
    for i in range(20):
        expected, sign = round(14 + 31 * ((i * 7) % 20) / 20, 1), (-1) ** i
        canary, primary = round(expected * scale + sign * (3.9 - 0.12 * i), 2), round(expected + sign * 2.6, 2)
        row = {
            "check": "golden",
            "id": f"car-{100 + 13 * i}",
            "segment": ("usa", "europe", "japan")[i % 3],
            "expected": expected,
        }
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
        "traffic_started": started + 6 if seconds > 6 else None, "approved": "", "budget": BUDGET,
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


def _moving(started: float, name: str, kind: str, at: tuple[float, float, float], verdict: str, **rest: Any) -> Rollout:
    """A check whose (estimate, low, high) narrows towards `at` for 60 s; an infinite bound is an open side."""
    history = []
    for second in range(10, 70, 2):
        wide = math.sqrt(70 / second)
        estimate, low, high = at[0] + 0.02 * (at[2] - at[0] if math.isfinite(at[2]) else 1) * math.sin(second), *at[1:]
        low, high = at[0] - (at[0] - low) * wide, at[0] + (high - at[0]) * wide
        bounds = {"low": low if math.isfinite(low) else None, "high": high if math.isfinite(high) else None}
        point = {"t": started + second, "weight": _weight(second), "estimate": estimate, **bounds, "n": second * 20}
        history.append({**point, "verdict": "undecided"})
    history[-1] |= {"verdict": verdict}
    base = {"unit": "", "share": False, "better": "lower", "counts": "requests", "alpha": 0.01, "limit": None}
    base |= {"margin": None, "min_sample": 1000, "canary": None, "primary": None, "parts": [], "bins": []}
    last = {key: history[-1][key] for key in ("estimate", "low", "high", "n", "verdict")}
    return {"name": name, "type": kind, "statistic": kind, **base, **last, "history": history, **rest}


def every_kind(started: float = STARTED) -> Rollout:
    """One check of each kind, held for a person."""
    far = math.inf
    share = {"share": True, "measures": "share of bad requests"}
    ages = ["to 20", "20 to 25", "25 to 30", "30 to 40", "above 40"]
    drifted = {"name": "predictions", "edges": ages, "canary": [0.31, 0.3, 0.2, 0.12, 0.07]}
    drifted |= {"against": [0.1, 0.22, 0.31, 0.24, 0.13], "against_name": "reference"}
    regions = [
        _part("eu", "undecided", 0.004, 700, 0.012, 0.008),
        _part("ap", "reject", 0.09, 310, 0.1, 0.01),
        _part("us", "accept", -0.002, 2100, 0.006, 0.008),
    ]
    answers = [
        {
            "check": "twin",
            "id": f"req-{i}",
            "segment": "eu",
            "expected": None,
            "canary": 20 + i,
            "primary": 20.0,
            "error": i,
        }
        for i in range(6, 0, -1)
    ]
    checks = [
        _golden(started, 2.41, 2.83),
        _moving(started, "availability", "slo", (0.012, 0.007, 0.019), "accept", **share, limit=0.02, canary=0.012,
                primary=0.01, n_primary=9000, reason="within the bound: 1.2 % of 1,380 requests; at most 2 %"),
        _moving(started, "memory", "slo", (612.0, 612.0, 612.0), "accept", alpha=0, unit="MiB", limit=800,
                counts="values", min_sample=None, low=None, high=None, canary=612.0,
                measures="process_resident_memory_megabytes",
                reason="within the bound for 60 s: 612 MiB now, at most 800 MiB is allowed"),
        _moving(started, "regions", "proportion", (0.004, -0.012, 0.021), "reject", **share, margin=0.02, canary=0.012,
                primary=0.008, n_primary=8400, parts=regions, segments="region",
                reason="the canary has more bad requests where region is ap"),
        _moving(started, "p99", "latency", (14.0, -22.0, far), "undecided", unit="ms", margin=25.0, canary=214.0,
                primary=200.0, n_primary=9100, measures="time within which 99 % of answers come",
                reason="the interval is still too wide: 14 ms more, -22 ms or more; 25 ms are allowed"),
        _moving(started, "revenue", "mean", (-0.06, -0.31, 0.19), "accept", unit="EUR", better="higher",
                margin=0.5, canary=4.11, primary=4.17, n_primary=8800, measures="mean",
                reason="no worse than allowed: -0.06 EUR"),
        _moving(started, "inputs", "drift", (0.34, -far, far), "reject", statistic="psi", limit=0.2,
                counts="predictions", n_primary=50000, bins=[drifted],
                measures="population stability index of the predictions, against the reference",
                reason="the canary's predictions are distributed otherwise than the reference's: psi 0.34"),
        _moving(started, "truth", "labels", (0.01, -0.03, 0.05), "undecided", share=True, better="higher", margin=0.02,
                counts="labels", canary=0.91, primary=0.9, n_primary=1300,
                measures="share of right predictions, by late labels",
                reason="the interval is still too wide; labels so far: 1,380 of 1,900 of the canary"),
        _moving(started, "twin", "shadow", (0.03, 0.02, 0.045), "accept", share=True, margin=0.05,
                counts="mirrored requests", n_primary=1380,
                measures="share of mirrored requests that the canary answers otherwise",
                reason="no more requests than allowed get another answer: 3 %, at most 5 % may be"),
        _moving(started, "owner", "approval", (0.0, 0.0, 0.0), "hold", estimate=None, low=None, high=None, n=0, alpha=0,
                min_sample=None, history=[], measures="a person's approval",
                reason="every other check accepts: a person has to approve the promotion"),
    ]  # fmt: skip
    lineage = {"steps": [{"kind": "commit", "title": "3f9c2ab41d77", "state": "good", "facts": [], "links": []}]}
    rest = {"verdict": "hold", "golden": [*_examples(1.0), *answers], "lineage": lineage}
    return _rollout(2, 70, started, checks, **rest)


SAMPLES = {
    "pending": pending(), "undecided": undecided(), "promoted": promoted(),
    "rejected-golden": rejected_golden(), "rejected-traffic": rejected_traffic(), "held": held(),
    "every-kind": every_kind(),
}  # fmt: skip


def many(number: int) -> list[Rollout]:
    """A list as `GET /api/v1/rollouts` has it, newest first."""
    models, samples = ("mpg", "churn", "ranking-eu"), list(SAMPLES.values())[:6]
    return [
        {**samples[i % 6], "id": f"r{i:04d}", "model": models[i % 3], "started": STARTED - 3600 * i}
        for i in range(number)
    ]


def page(
    rollouts: list[Rollout], *, text: str = "", model: str = "", state: str = "", before: str = "", limit: int = 100
) -> Rollout:
    """What `GET /api/v1/rollouts` answers."""
    found = [each for each in rollouts if model in ("", each["model"]) and state in ("", each["state"])]
    found = [each for each in found if text in "\n".join(each[key] for key in ("id", "model", "image"))]
    ids = [each["id"] for each in found]
    start = ids.index(before) + 1 if before else 0
    shown = found[start : start + limit]
    more = start + limit < len(found)
    models = sorted({each["model"] for each in rollouts})
    return {"rollouts": shown, "total": len(found), "next": shown[-1]["id"] if more else None, "models": models}


def report(rollout: Rollout) -> Rollout:
    """A report's JSON of it."""
    cells = [{"total": 100.0, "bad": 1.0}, {"total": 900.0, "bad": 8.0}]
    part = {"step": 1, "weight": 10, "end": 0.1, "canary": cells[0], "primary": cells[1], "whole": True}
    none = {"alpha": 0.0167, "elapsed": 0.5, "slices": {}, "values": [], "told": [], "pairs": None}
    none |= {"predictions": 0, "labels": 0, "known": {"predictions": 0, "labels": 0}}
    reply = {"value": 20.5, "error": ""}
    pairs = [{"id": "a", "canary": reply, "primary": reply}, {"id": "b", "canary": reply, "primary": reply}]
    pairs[1]["canary"] = {"value": None, "error": "did not answer"}
    told = {"predictions": 1380, "labels": 1300, "known": {"predictions": 1380, "labels": 1288}}
    basis = {"errors": {**none, "slices": {"": [part, part]}}, "golden": {**none, "pairs": pairs}}
    basis["truth"] = {**none, **told}
    files = {"gate.yaml": {"digest": "sha256:" + "a" * 64, "text": "kind: Gate\nmetadata: {name: mpg}\n"}}
    versions = {"modelpack": "0", "python": "3.11", "numpy": "2", "scipy": "1"}
    return {"rollout": rollout, "versions": versions, "files": files, "basis": basis}
