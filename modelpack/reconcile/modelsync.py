"""ModelSync objects and the PipelineRuns they own, as values. Pure.

In: objects as the API server gives them, of either group. Out: frozen values; what makes no sense is one sentence in
`ModelSync.problem`, because such an object must not stop the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from modelpack.errors import InputError
from modelpack.rollout.observed import unix_time

GROUP, ORIGINAL_GROUP = "modelpack.dev", "automl.cloudai.kubeflow.org"
VERSIONS = {GROUP: "v1", ORIGINAL_GROUP: "v1alpha1"}
PLURAL = "modelsyncs"
OWNER_LABEL = "modelpack.dev/modelsync"
NUMBER, ATTEMPT, DIGEST, GENERATION = (
    f"modelpack.dev/{each}" for each in ("number", "attempt", "parameters", "generation")
)
_MAX_MESSAGE = 300  # characters
_KEEP = {GROUP: 10, ORIGINAL_GROUP: 100}
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SHORTEST = 1.0  # seconds between two questions
T = TypeVar("T")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Spec:
    """What a ModelSync asks for. `parameters` are pairs (name in the answer, name in the pipeline); `identity` are the
    names in the answer that tell one need from another, none for all of those; `interval` is in seconds, 0.0 for the
    operator's own; after `backoff_limit` repeated failures a person has to look; a run that succeeded and did not end
    the need is repeated after `repeat_after` seconds."""

    url: str
    template: Json
    parameters: tuple[tuple[str, str], ...] = ()
    identity: tuple[str, ...] = ()
    keep_succeeded: int = 10
    keep_failed: int = 10
    interval: float = 0.0
    backoff_limit: int = 6
    repeat_after: float = 86400.0
    suspend: bool = False


@dataclass(frozen=True)
class ModelSync:
    """One object. `spec` is None if it makes no sense, and `problem` says why."""

    group: str
    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    spec: Spec | None = None
    problem: str = ""
    deleting: bool = False
    status: Json = field(default_factory=lambda: MappingProxyType({}))

    @property
    def api_version(self) -> str:
        return f"{self.group}/{VERSIONS[self.group]}"


class State(Enum):
    """How a run stands. PENDING: it was decided upon, and nobody has seen it; LOST: it vanished before its end."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    LOST = "Lost"


@dataclass(frozen=True)
class Run:
    """A PipelineRun that a ModelSync owns. `number` counts its runs from 1, `attempt` those since needsSync was
    content; times are unix seconds, 0.0 for none."""

    name: str
    uid: str
    owner: str
    state: State
    number: int = 0
    attempt: int = 1
    digest: str = ""
    generation: int = 0
    created: float = 0.0
    finished: float = 0.0
    deleting: bool = False


def parse(body: Json) -> ModelSync:
    """An object of either group. Raises InputError only for what the API server would never give."""
    try:
        group = str(body["apiVersion"]).partition("/")[0]
        metadata = body["metadata"]
        status = body.get("status")
        sync = ModelSync(
            group=group,
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=int(metadata.get("generation") or 0),
            resource_version=str(metadata.get("resourceVersion") or ""),
            deleting=bool(metadata.get("deletionTimestamp")),
            status=status if isinstance(status, Mapping) else {},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("a ModelSync", f"has no {error}") from error
    if group not in VERSIONS:
        raise InputError(f"{sync.namespace}/{sync.name}", f"is of group {group}, not {' or '.join(VERSIONS)}")
    try:
        return _with(sync, spec=_spec(_mapping(body.get("spec"), "spec"), group))
    except InputError as error:
        return _with(sync, problem=str(error)[:_MAX_MESSAGE])


def _with(sync: ModelSync, **changes: Any) -> ModelSync:
    return ModelSync(**{**vars(sync), **changes})


def _spec(spec: Json, group: str) -> Spec:
    return Spec(
        url=_url(spec.get("needsSyncUrl")),
        template=_template(_mapping(spec.get("pipelineRunTemplate"), "spec.pipelineRunTemplate"), group),
        parameters=_parameters(spec.get("parameters")),
        identity=_identity(spec.get("identity")),
        keep_succeeded=_count(spec, "successfulPipelineRunsHistoryLimit", _KEEP[group]),
        keep_failed=_count(spec, "failedPipelineRunsHistoryLimit", _KEEP[group]),
        interval=_seconds(spec, "interval", 0.0),
        backoff_limit=_count(spec, "backoffLimit", Spec.backoff_limit),
        repeat_after=_seconds(spec, "repeatAfter", Spec.repeat_after),
        suspend=spec.get("suspend") is True,
    )


def _url(value: object) -> str:
    url = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise InputError("spec.needsSyncUrl", "is not the address of a service", "write http://SERVICE.NAMESPACE/…")
    if "@" in parts.netloc:
        raise InputError("spec.needsSyncUrl", "holds a login", "whoever may read the object would have it")
    return url


def _parameters(value: object) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for number, item in enumerate(_list(value, "spec.parameters")):
        place = f"spec.parameters[{number}]"
        each = _mapping(item, place)
        pipeline = each.get("pipelineName") or each.get("needsSyncName")
        asked = each.get("needsSyncName") or pipeline
        if not isinstance(pipeline, str) or not isinstance(asked, str):
            raise InputError(place, "names no parameter", "give pipelineName")
        if pipeline in (other for _, other in pairs):
            raise InputError(place, f"is a second value for the pipeline's {pipeline}")
        pairs.append((asked, pipeline))
    return tuple(pairs)


def _identity(value: object) -> tuple[str, ...]:
    names = _list(value, "spec.identity")
    if not all(isinstance(each, str) and each for each in names):
        raise InputError("spec.identity", "is not a list of names")
    return tuple(names)


def _template(template: Json, group: str) -> Json:
    """Labels, annotations, the name's stem and a Tekton v1 spec."""
    place = "spec.pipelineRunTemplate"
    metadata = _mapping(template.get("metadata") or {}, f"{place}.metadata")
    for key in ("name", "namespace"):
        if metadata.get(key):
            raise InputError(f"{place}.metadata.{key}", "is not to be set", "a run is named after its ModelSync")
    for key in ("labels", "annotations"):
        texts = _mapping(metadata.get(key) or {}, f"{place}.metadata.{key}")
        if not all(isinstance(each, str) for each in texts.values()):
            raise InputError(f"{place}.metadata.{key}", "holds more than texts")
    spec = dict(_mapping(template.get("spec"), f"{place}.spec"))
    for number, each in enumerate(_list(spec.get("params"), f"{place}.spec.params")):
        if not isinstance(_mapping(each, f"{place}.spec.params[{number}]").get("name"), str):
            raise InputError(f"{place}.spec.params[{number}]", "has no name")
    if bool(spec.get("pipelineRef")) == bool(spec.get("pipelineSpec")):
        raise InputError(f"{place}.spec", "needs one of pipelineRef and pipelineSpec")
    if spec.get("resources"):
        raise InputError(
            f"{place}.spec.resources",
            "is what Tekton no longer has, so the run would miss its input",
            "give their values as params, and fetch what they name in a task of the pipeline",
        )
    spec.pop("resources", None)
    if group == ORIGINAL_GROUP:
        _as_v1(spec)
    return {"metadata": {key: metadata.get(key) for key in ("labels", "annotations", "generateName")}, "spec": spec}


def _as_v1(spec: dict[str, Any]) -> None:
    """What stands elsewhere in Tekton v1 than in v1beta1 (its migration guide)."""
    for key in ("serviceAccountName", "podTemplate"):
        if (value := spec.pop(key, None)) is not None:
            spec["taskRunTemplate"] = {key: value, **_mapping(spec.get("taskRunTemplate") or {}, key)}
    if (value := spec.pop("timeout", None)) is not None:
        spec["timeouts"] = {"pipeline": value, **_mapping(spec.get("timeouts") or {}, "timeouts")}


def _mapping(value: object, place: str) -> Json:
    if not isinstance(value, Mapping):
        raise InputError(place, "is missing" if value is None else "is not a mapping")
    return value


def _list(value: object, place: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise InputError(place, "is not a list")
    return value or []


def _count(spec: Json, key: str, default: int) -> int:
    value = default if spec.get(key) is None else spec[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"spec.{key}", f"{value!r} is not a whole number from 0")
    return value


def _seconds(spec: Json, key: str, default: float) -> float:
    if spec.get(key) is None:
        return default
    found = _DURATION.fullmatch(str(spec[key]))
    seconds = (
        sum(int(part) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True) if part) if found else 0
    )
    if seconds < _SHORTEST:
        raise InputError(f"spec.{key}", f"{spec[key]!r} is not a duration", "write it like 90s, 10m or 1h30m")
    return float(seconds)


# -- runs


def run_of(body: Json) -> Run | None:
    """A PipelineRun, None if no ModelSync owns it."""
    metadata = body.get("metadata") or {}
    owners = [each for each in metadata.get("ownerReferences") or () if each.get("controller")]
    if not owners or owners[0].get("kind") != "ModelSync":
        return None
    if str(owners[0].get("apiVersion")).partition("/")[0] not in VERSIONS:
        return None
    status = body.get("status") or {}
    said = metadata.get("annotations") or {}
    return Run(
        name=str(metadata.get("name")),
        uid=str(metadata.get("uid")),
        owner=str(owners[0].get("uid")),
        state=state_of(status.get("conditions") or ()),
        number=_or(int, said.get(NUMBER), 0),
        attempt=_or(int, said.get(ATTEMPT), 1),
        digest=str(said.get(DIGEST, "")),
        generation=_or(int, said.get(GENERATION), 0),
        created=_or(unix_time, metadata.get("creationTimestamp"), 0.0),
        finished=_or(unix_time, status.get("completionTime"), 0.0),
        deleting=bool(metadata.get("deletionTimestamp")),
    )


def state_of(conditions: Any) -> State:
    """By the condition Succeeded, as Tekton documents it: Unknown or none while it goes on."""
    for each in conditions:
        if each.get("type") == "Succeeded" and each.get("status") in ("True", "False"):
            return State.SUCCEEDED if each["status"] == "True" else State.FAILED
    return State.RUNNING


def _or(read: Callable[[Any], T], value: Any, default: T) -> T:
    """Annotations and times are anybody's."""
    try:
        return read(value)
    except (TypeError, ValueError):
        return default
