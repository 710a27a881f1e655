"""Puts one look together. A gate or a repository that fails takes only its own part away."""

from __future__ import annotations

from typing import Any

from modelpack.errors import ModelpackError, NotFoundError
from modelpack.status import gate
from modelpack.status.git import GitSource
from modelpack.status.scenes import Scene
from modelpack.status.view import Event, Judgement, Unseen, View

EVENTS = 8  # that one look shows


def look(
    scene: Scene, git: GitSource, now: float, name: str = "", namespace: str | None = None
) -> tuple[View | Unseen, ...]:
    """Look at one Canary, by its own name or its model's, or at all; where it is one, its events are asked for too.

    `name` may be NAMESPACE/NAME. Raises NotFoundError if there is no such Canary, RemoteError or InputError if the
    scene cannot be read.
    """
    if "/" in name:
        namespace, _, name = name.partition("/")
    known = scene.canaries(namespace)
    missing, rollouts = "", list[dict[str, Any]]()
    try:
        rollouts = gate.rollouts(scene.gate) if known else []
    except ModelpackError as error:
        missing = error.problem
    chosen = _chosen(known, rollouts, name, namespace)
    found: list[View | Unseen] = []
    for place in chosen:
        try:
            found.append(_view(scene, git, now, place, rollouts, missing, whole=len(chosen) == 1))
        except ModelpackError as error:
            if len(chosen) == 1:
                raise
            found.append(Unseen(*place, error.problem))
    return tuple(found)


def _chosen(
    known: tuple[tuple[str, str], ...], rollouts: list[dict[str, Any]], name: str, namespace: str | None
) -> list[tuple[str, str]]:
    chosen = [place for place in sorted(known) if name in ("", place[1])]
    if not chosen:
        models = {(each.get("namespace"), each.get("name")) for each in rollouts if each.get("model") == name}
        chosen = [place for place in sorted(known) if place in models]
    if not chosen:
        where = f" in namespace {namespace}" if namespace else ""
        there = ", ".join("/".join(place) for place in sorted(known)[:10])
        remedy = f"there are {there}" if there else "apply one, or name another --namespace, --context or --state"
        raise NotFoundError(name or "canaries", f"there is no such Canary{where}" if name else f"none{where}", remedy)
    return chosen


def _view(
    scene: Scene,
    git: GitSource,
    now: float,
    place: tuple[str, str],
    rollouts: list[dict[str, Any]],
    missing: str,
    *,
    whole: bool,
) -> View:
    seen = scene.observe(*place)
    judged: Judgement | None = None
    happened: tuple[Event, ...] = ()
    found = gate.newest(rollouts, *place)
    if found is not None:
        try:
            found = gate.details(scene.gate, found) if whole else found
            judged, happened = gate.judgement(found), gate.events(found)
        except ModelpackError as error:
            missing = error.problem
    told: tuple[Event, ...] = ()
    untold = ""
    try:
        told = scene.events(*place) if whole else ()
    except ModelpackError as error:
        untold = error.problem
    return View(
        at=now,
        seen=seen,
        git=git.named(seen),
        gate=judged,
        gate_missing=missing,
        gate_address=scene.gate_address(),
        events=gate.merged(told, happened)[-EVENTS:],
        events_missing=untold,
        stopped=scene.stopped(),
    )
