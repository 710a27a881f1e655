"""What a cluster's objects say about a rollout: the Canary, its target and the primary, as plain JSON, in one value.

Pure: objects in, values out. Behaviour is that of Flagger 1.44.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelpack.errors import InputError
from modelpack.gitops import ANNOTATION_ROLLBACK
from modelpack.reference import Reference
from modelpack.rollout.canary import MIN_INTERVAL, go_duration
from modelpack.rollout.status import Phase

ANNOTATION_CONTAINER = "modelpack.dev/container"  # on the Canary: which container of its target is the model
DEFAULT_CONTAINER = "model"
DEFAULT_INTERVAL = 60.0  # seconds
KINDS = {"Deployment": "deployments", "DaemonSet": "daemonsets"}
_SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Observed:
    """One consistent reading of a Canary and its two Deployments.

    `weight` is in percent, `interval` in seconds, `last_transition` in unix seconds, 0.0 unknown. `message` is the
    Promoted condition's. `steps` are the weights that the canary passes, () for strategies that count iterations.
    Images are "" while there is none. `rollback`: a person asked to go back to the canary's version. `template_written`
    is when somebody last wrote the target's pod template, `failed` since when the phase is Failed; both in unix
    seconds, 0.0 unknown.
    """

    namespace: str
    name: str
    phase: str
    weight: int
    failed_checks: int
    iterations: int
    last_applied: str
    last_promoted: str
    last_transition: float
    message: str
    interval: float
    threshold: int
    steps: tuple[int, ...]
    analysis_iterations: int
    service: str
    port: int
    canary_image: str
    primary_image: str
    rollback: bool
    template_written: float = 0.0
    failed: float = 0.0


@dataclass(frozen=True)
class Event:
    """A Kubernetes event. `at` is in unix seconds; `type` is Normal or Warning."""

    at: float
    type: str
    message: str


def observed(canary: Json, target: Json | None, primary: Json | None) -> Observed:
    """Put together what was read; None stands for a Deployment that does not exist (yet).

    Raises InputError for objects that make no sense.
    """
    metadata, spec, status = canary["metadata"], canary.get("spec") or {}, canary.get("status") or {}
    namespace, name = str(metadata["namespace"]), str(metadata["name"])
    analysis = spec.get("analysis") or spec.get("canaryAnalysis") or {}
    service = spec.get("service") or {}
    container = str((metadata.get("annotations") or {}).get(ANNOTATION_CONTAINER, DEFAULT_CONTAINER))
    place = f"Canary {namespace}/{name}"
    image = _image(target, container, place)
    try:
        return Observed(
            namespace=namespace,
            name=name,
            phase=str(status.get("phase") or ""),
            weight=int(status.get("canaryWeight") or 0),
            failed_checks=int(status.get("failedChecks") or 0),
            iterations=int(status.get("iterations") or 0),
            last_applied=str(status.get("lastAppliedSpec") or ""),
            last_promoted=str(status.get("lastPromotedSpec") or ""),
            last_transition=unix_time(status.get("lastTransitionTime")),
            message=str(_promoted(status).get("message") or ""),
            interval=max(MIN_INTERVAL, go_duration(str(analysis.get("interval") or "")) or DEFAULT_INTERVAL),
            threshold=int(analysis.get("threshold") or 0) or 1,
            steps=_steps(analysis),
            analysis_iterations=int(analysis.get("iterations") or 0),
            service=_service(str(service.get("name") or (spec.get("targetRef") or {}).get("name") or name)),
            port=_port(int(service.get("port") or 80)),
            canary_image=image,
            primary_image=_image(primary, container, place),
            rollback=_goes_back(target, image),
            template_written=_written(target),
            failed=_failed(status),
        )
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(place, f"makes no sense: {error}") from error


def target_of(canary: Json) -> tuple[str, str]:
    """The kind and the name of what a Canary is about; raises InputError for a kind that is not supported."""
    ref = (canary.get("spec") or {}).get("targetRef") or {}
    kind, name = str(ref.get("kind") or ""), str(ref.get("name") or "")
    if kind not in KINDS or not name:
        metadata = canary["metadata"]
        raise InputError(
            f"Canary {metadata['namespace']}/{metadata['name']}",
            f"its targetRef is a {kind or 'thing without kind'}",
            "canaries of a Deployment or a DaemonSet are known",
        )
    return kind, name


def unix_time(text: object) -> float:
    """Seconds of a time as Kubernetes writes it; 0.0 for none."""
    try:
        return datetime.fromisoformat(str(text or "").replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _promoted(status: Json) -> Json:
    """Flagger's one condition."""
    return next((each for each in status.get("conditions") or () if each.get("type") == "Promoted"), {})


def _failed(status: Json) -> float:
    """Not by `lastTransitionTime`: as long as the phase is Failed, Flagger writes that at every tick."""
    condition = _promoted(status)
    stands = condition.get("reason") == status.get("phase") == Phase.FAILED.value
    return unix_time(condition.get("lastTransitionTime")) if stands else 0.0


def _service(name: str) -> str:
    """A Service's name: others become part of addresses that are asked, and Flagger's CRD takes any text."""
    if not _SERVICE.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is not the name of a Service")
    return name


def _port(port: int) -> int:
    if not 0 < port < 1 << 16:
        raise ValueError(f"{port} is not a port")
    return port


def _steps(analysis: Json) -> tuple[int, ...]:
    if analysis.get("iterations"):
        return ()
    if analysis.get("stepWeights"):
        return tuple(int(each) for each in analysis["stepWeights"])
    step, highest = int(analysis.get("stepWeight") or 0), min(100, int(analysis.get("maxWeight") or 0) or 100)
    if step <= 0:
        return ()
    return tuple(min(100, step * number) for number in range(1, -(-highest // step) + 1))


def _pod(workload: Json | None) -> tuple[Json, Json]:
    """The pod template's annotations and its spec."""
    template = ((workload or {}).get("spec") or {}).get("template") or {}
    return (template.get("metadata") or {}).get("annotations") or {}, template.get("spec") or {}


def _written(workload: Json | None) -> float:
    """The API server notes with each writer's fields when it last changed any of them."""
    writers = ((workload or {}).get("metadata") or {}).get("managedFields") or ()
    of_template = [each for each in writers if "f:template" in ((each.get("fieldsV1") or {}).get("f:spec") or {})]
    times = [unix_time(each.get("time")) for each in of_template]
    return max(times) if times and all(times) else 0.0


def _image(workload: Json | None, container: str, place: str) -> str:
    """The image that carries the model: of an init container, else a volume, else a container of this name."""
    if workload is None:
        return ""
    pod = _pod(workload)[1]
    places = (
        [(each, each) for each in pod.get("initContainers") or ()]
        + [(each, {"image": (each.get("image") or {}).get("reference")}) for each in pod.get("volumes") or ()]
        + [(each, each) for each in pod.get("containers") or ()]
    )
    for part, holder in places:
        if part.get("name") == container and holder.get("image"):
            return str(holder["image"])
    kind, metadata = workload.get("kind") or "Deployment", workload.get("metadata") or {}
    raise InputError(
        f"{kind} {metadata.get('name', '')}",
        f"has no init container, image volume or container {container!r}",
        f"name the one with the model in the annotation {ANNOTATION_CONTAINER} of {place}",
    )


def _goes_back(target: Json | None, image: str) -> bool:
    """The annotation names the version that it is about, so that one left behind says nothing about the next."""
    wanted = str(_pod(target)[0].get(ANNOTATION_ROLLBACK) or "")
    if not wanted or not image:
        return False
    reference = Reference.parse(image)
    return wanted in (reference.digest, reference.tag)
