"""What a bump rewrites: one place in one file, and how model.yaml and `--target` say which.

A target has exactly one selector. Those of an object (`initContainer`, `container`, `volume`, `values`, `path`) go with
`kind` and `name`; `values` and `path` also stand alone, for a file that is no Kubernetes object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelpack.errors import InputError
from modelpack.fields import Fields, nearest, read

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "Rollout")
INFERENCE_SERVICE = "InferenceService"
RELEASES = ("HelmRelease", "Application")
IMAGE, REGISTRY, REPOSITORY, TAG, DIGEST = PARTS = ("image", "registry", "repository", "tag", "digest")
"""What a scalar can hold of an image: all of it as a reference, or a part; a repository holds its registry unless
that stands apart."""

_SELECTORS = ("initContainer", "container", "volume", "images", "values", "marker", "setter", "path")
_KEYS = ("file", "kind", "name", "namespace", *_SELECTORS, "part")
_MARKER = re.compile(r"[^\s:]+:[^\s:]+")
_SETTER = re.compile(r"[^\s${}]+")


@dataclass(frozen=True)
class Target:
    """A place in a file. `kind` and `name` are "" for a file that holds no object; unused selectors are empty.

    - `init_container`, `container`, `volume`: by name, in a workload's pod template; in a Kustomization: in its patches
    - none of them, kind InferenceService: the storageUri of its predictor, `oci://` included
    - `images`: the entry of that name in a Kustomization's images
    - `values`: Helm values, (part, path) pairs, below the values of a HelmRelease or Application, or of the file itself
    - `marker`: `namespace:name` of a Flux image policy, every value that a marker of it stands beside
    - `setter`: a kpt setter; `path`: one scalar of the object or file; of both `part` says what of the image it holds
    """

    file: str
    kind: str = ""
    name: str = ""
    init_container: str = ""
    namespace: str = ""
    volume: str = ""
    container: str = ""
    images: str = ""
    values: tuple[tuple[str, str], ...] = ()
    marker: str = ""
    setter: str = ""
    path: str = ""
    part: str = IMAGE


def parse_target(text: str) -> Target:
    """A target as `--target` has it: the keys of model.yaml as a flow mapping, its braces left out or not."""
    inner = text.strip()
    try:
        fields = read(inner if inner.startswith("{") else f"{{{inner}}}", "--target")
    except InputError as error:
        raise InputError(error.subject, error.problem, "put a value with [, { or , in it in quotes") from error
    return read_target(fields)


def read_target(fields: Fields) -> Target:
    """One entry of model.yaml's targets; raises InputError with file and line."""
    for key in (*fields.keys(),):
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            remedy = f"did you mean {near!r}?" if near else f"known here: {', '.join(_KEYS)}"
            raise fields.error(key, "is not a known key", remedy)
    given = [each for each in _SELECTORS if each in fields]
    if len(given) > 1:
        raise fields.error(given[1], f"stands beside {given[0]}", "a target has one of them; write another target")
    selector = given[0] if given else ""
    if selector and not (fields.text(selector) if fields.is_text(selector) else "{}"):
        raise fields.error(selector, "is empty")
    kind = _kind(fields, selector)
    target = Target(
        file=_file(fields),
        kind=kind,
        name=fields.text("name") if kind else fields.text("name", ""),
        init_container=fields.text("initContainer", ""),
        namespace=fields.text("namespace", ""),
        volume=fields.text("volume", ""),
        container=fields.text("container", ""),
        images=fields.text("images", ""),
        values=_values(fields),
        marker=fields.text("marker", ""),
        setter=fields.text("setter", ""),
        path=fields.text("path", ""),
        part=fields.choice("part", PARTS, IMAGE),
    )
    if "part" in fields and selector not in ("setter", "path"):
        raise fields.error("part", "goes with setter or path alone")
    if (target.name or target.namespace) and not kind:
        raise fields.error("name" if target.name else "namespace", f"means nothing beside {selector} without a kind")
    if target.marker and not _MARKER.fullmatch(target.marker):
        raise fields.error("marker", f"{target.marker!r} is no image policy", "write it as namespace:name")
    if target.setter and not _SETTER.fullmatch(target.setter):
        raise fields.error("setter", f"{target.setter!r} is no setter's name", "write it without ${ }")
    return target


def _file(fields: Fields) -> str:
    file = fields.text("file")
    path = PurePosixPath(file)
    outside = path.is_absolute() or ".." in path.parts or not path.parts
    if outside or not file.isprintable() or any(part.lower() == ".git" for part in path.parts):
        raise fields.error("file", f"{file!r} is not a path inside the repository")
    return str(path)


def _kind(fields: Fields, selector: str) -> str:
    if selector in ("images", "marker", "setter"):
        if "kind" in fields:
            raise fields.error("kind", f"means nothing beside {selector}", "leave it out")
        return ""
    if selector == "path":
        return fields.text("kind", "")
    if selector == "values":
        return fields.choice("kind", RELEASES, "")
    kind = fields.choice("kind", (*WORKLOADS, INFERENCE_SERVICE), "Deployment")
    if (kind == INFERENCE_SERVICE) != (not selector):
        if selector:
            raise fields.error(selector, f"is nothing that an {kind} has", "leave it out: its storageUri is set")
        known = ", ".join(_SELECTORS)
        raise fields.error("initContainer", "is missing", f"name what holds the model by one of {known}")
    return kind


def _values(fields: Fields) -> tuple[tuple[str, str], ...]:
    """`values: image.ref`, one text; or `values: {repository: image.repository, tag: image.tag}`."""
    if "values" not in fields:
        return ()
    if fields.is_text("values"):
        return ((IMAGE, fields.text("values")),)
    places = fields.mapping("values")
    found = tuple((part, text) for part in PARTS if (text := places.text(part, "")))
    places.done()
    parts = {part for part, _ in found}
    if not parts & {IMAGE, TAG, DIGEST} or (IMAGE in parts and len(parts) > 1):
        raise fields.error("values", "names no part that changes", f"give {IMAGE}, or {TAG} and {DIGEST} apart")
    return found
