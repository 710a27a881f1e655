"""The gate's JSON, read for one Canary. `Fetch` gets a path's bytes, over whatever way leads to the gate."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from modelpack.errors import RemoteError
from modelpack.status.view import Check, Event, Judgement

Fetch = Callable[[str], bytes]
LIST = "/api/v1/rollouts"
_APPROVAL = "approval"  # a person's decision among Flagger's calls
_TRAFFIC_HOOKS = ("pre-rollout", "confirm-traffic-increase", "confirm-promotion")


def rollouts(fetch: Fetch) -> list[dict[str, Any]]:
    """The gate's newest rollouts, newest first. Raises RemoteError if it does not answer like a gate."""
    value = _json(fetch(LIST))
    found = value.get("rollouts") if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise RemoteError("the gate", "does not answer like a gate")
    return found


def newest(found: Iterable[dict[str, Any]], namespace: str, name: str) -> dict[str, Any] | None:
    """A Canary's rollout: the one that goes on, else the newest."""
    ours = [each for each in found if (each.get("namespace"), each.get("name")) == (namespace, name)]
    return next((each for each in ours if each.get("state") == "active" and each.get("ended") is None), None) or next(
        iter(ours), None
    )


def details(fetch: Fetch, rollout: dict[str, Any]) -> dict[str, Any]:
    """A listed rollout with its events."""
    value = _json(fetch(f"{LIST}/{rollout.get('id')}"))
    if not isinstance(value, dict):
        raise RemoteError("the gate", "does not answer like a gate")
    return value


def judgement(value: dict[str, Any]) -> Judgement:
    """Reads what is there: an older or newer gate may know less or more."""
    checks = [each for each in _list(value, "checks") if isinstance(each, dict)]
    calls = [each for each in _list(value, "events") if isinstance(each, dict)]
    return Judgement(
        rollout=_text(value, "id"),
        image=_text(value, "image"),
        verdict=_text(value, "verdict"),
        reason=_text(value, "reason"),
        state=_text(value, "state"),
        final=value.get("final") is True,
        ended=value.get("ended") is not None,
        checks=tuple(_check(each) for each in checks),
        last_call=max((_number(each, "t") or 0.0 for each in calls if each.get("hook") != _APPROVAL), default=0.0),
    )


def events(value: dict[str, Any]) -> tuple[Event, ...]:
    """Flagger's events as the gate got them, its answers where they changed, people's decisions; oldest first."""
    found, last = [], dict[str, Any]()
    for each in _list(value, "events"):
        if not isinstance(each, dict):
            continue
        hook, answer, at = _text(each, "hook"), each.get("answer"), _number(each, "t") or 0.0
        if hook == "event":
            if message := _text(each, "message"):
                found.append(Event(at, message))
        elif hook == _APPROVAL:
            found.append(Event(at, _text(each, "reason"), source="person"))
        elif last.get(hook) != answer:
            if hook in _TRAFFIC_HOOKS:
                reason = f": {_text(each, 'reason')}" if answer != 200 else ""
                found.append(Event(at, f"{'passes' if answer == 200 else 'refuses'} {hook}{reason}", source="gate"))
            elif hook == "rollback" and answer == 200:
                found.append(Event(at, f"asks for a rollback: {_text(each, 'reason')}", True, "gate"))
        last[hook] = answer
    return tuple(found)


def merged(flagger: Iterable[Event], gate: Iterable[Event]) -> tuple[Event, ...]:
    """All events, newest last, each message once: Flagger tells the gate what it tells Kubernetes, some in every tick.

    The gate's time goes first: it is the first of this rollout, Kubernetes' may be of any. Only Kubernetes knows which
    are warnings.
    """
    told = list(flagger)
    warnings = {each.message for each in told if each.warning}
    found: dict[tuple[str, str], Event] = {}
    for each in (*gate, *told):
        warning = each.warning or (each.source == "flagger" and each.message in warnings)
        found.setdefault((each.source, each.message), replace(each, warning=warning))
    return tuple(sorted(found.values(), key=lambda each: each.at))


def _check(value: dict[str, Any]) -> Check:
    return Check(
        name=_text(value, "name"),
        type=_text(value, "type"),
        verdict=_text(value, "verdict"),
        reason=_text(value, "reason"),
        share=value.get("share") is True,
        unit=_text(value, "unit"),
        estimate=_number(value, "estimate"),
        low=_number(value, "low"),
        high=_number(value, "high"),
        n=int(_number(value, "n") or 0),
        n_primary=int(_number(value, "n_primary") or 0),
    )


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RemoteError("the gate", "does not answer like a gate", "is this the gate's address?") from error


def _list(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _text(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _number(value: dict[str, Any], key: str) -> float | None:
    found = value.get(key)
    return float(found) if isinstance(found, (int, float)) and math.isfinite(found) else None
