"""A Deployment's pod template as processes: what to copy where, and the command that serves it.

A volume is a folder; an image volume is the folder that the whole image is unpacked to.

Containers know absolute paths and fixed ports; two of them on one machine cannot. So mount paths in command, args and
environment are rewritten to folders, and `MODEL_DIR`, `PORT` and `MODEL_FEEDBACK` are set. Where that is not enough,
the pod template's annotation `modelpack.dev/rehearse-command` is a shell command that takes the container's place.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelpack.definition import Copy
from modelpack.errors import InputError
from modelpack.fields import Fields
from modelpack.target import Target

ANNOTATION_COMMAND = "modelpack.dev/rehearse-command"
_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


@dataclass(frozen=True)
class Mount:
    """A container's mount: the folder `sub_path` of a volume appears at `path`."""

    volume: str
    path: str
    sub_path: str = ""

    def folder(self, volumes: Path) -> Path:
        """Where this machine has what the container sees at `path`."""
        return volumes / self.volume / self.sub_path


@dataclass(frozen=True)
class Workload:
    """What a rehearsal needs of a pod template.

    `image` is the model container's. With an init container `model` is the mount that it copies to, with an image
    volume (`mounted`) the volume itself; `inside` is the model's folder below that. `environ` has None where the value
    comes from elsewhere; `shell` is the annotation, "" without one; `probe` is the path of the readiness check, ""
    where answering on the port is enough.
    """

    image: str
    mounted: bool
    model: Mount
    inside: str
    mounts: tuple[Mount, ...]
    command: tuple[str, ...]
    environ: tuple[tuple[str, str | None], ...]
    shell: str
    probe: str

    def destination(self, volumes: Path) -> Path:
        """The folder that the model is in."""
        return self.model.folder(volumes) / self.inside


@dataclass(frozen=True)
class Launch:
    """A process to be started: its words and its whole environment."""

    words: tuple[str, ...]
    environ: Mapping[str, str]


def read_workload(template: Fields, target: Target, copy: Copy) -> Workload:
    """Read the pod template of a target. Raises InputError with the line of what a rehearsal cannot run."""
    annotations = template.mapping("metadata").value("annotations", {}) or {}
    shell = str(annotations.get(ANNOTATION_COMMAND, "")).strip() if isinstance(annotations, dict) else ""
    spec = template.mapping("spec")
    if target.volume:
        image = _image_volume(spec, target.volume)
        volume, inside = Mount(target.volume, ""), copy.source.strip("/")
    else:
        container = _item(spec, "initContainers", "container", target.init_container)
        image = container.text("image")
        volume, inside = _copied_to(container, copy.to)
    others = [each for each in spec.mappings("initContainers") if each.text("name") != target.init_container]
    if others and not shell:
        raise others[0].error("name", "is another init container, which a rehearsal does not run", _use_annotation())
    server = _server(spec, volume.volume)
    mounts = _mounts(server)
    if not shell:
        _check_volumes(spec, {mount.volume for mount in mounts} - {volume.volume})
        if "envFrom" in server:
            raise server.error("envFrom", "is not read by a rehearsal", _use_annotation())
    command = (*_words(server, "command"), *_words(server, "args"))
    if not shell and "command" not in server:
        raise server.error("command", "is missing: the image's own entrypoint cannot run here", _use_annotation())
    return Workload(
        image=image,
        mounted=bool(target.volume),
        model=volume,
        inside=inside,
        mounts=mounts,
        command=command,
        environ=tuple((each.text("name"), _env_value(each)) for each in server.mappings("env")),
        shell=shell,
        probe=_probe(server.mapping("readinessProbe")),
    )


def launch(workload: Workload, volumes: Path, port: int, gate: str = "") -> Launch:
    """How to start the server on this machine. `gate` is where it tells its predictions, "" for nowhere: never to the
    gate of a cluster. Raises InputError for a variable that only a cluster has."""
    ours = {"MODEL_DIR": str(workload.destination(volumes)), "PORT": str(port), "MODEL_FEEDBACK": gate}
    environ = dict(ours)
    for name, value in workload.environ:
        if name in ours:
            continue
        if value is None and name not in os.environ:
            raise InputError(f"variable {name}", "comes from the cluster (valueFrom)", f"set {name} in the environment")
        environ[name] = os.environ[name] if value is None else _expand(_localise(value, workload, volumes), environ)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    whole = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **environ}
    if workload.shell:
        return Launch(("sh", "-c", _localise(workload.shell, workload, volumes)), whole)
    words = [_expand(_localise(word, workload, volumes), environ) for word in workload.command]
    if words[0] in ("python", "python3"):
        words[0] = sys.executable
    return Launch(tuple(words), whole)


def _localise(text: str, workload: Workload, volumes: Path) -> str:
    """Replace mount paths, the longest first, where they stand as a whole path or the start of one."""
    folders = {mount.path: str(mount.folder(volumes)) for mount in workload.mounts}
    paths = "|".join(re.escape(path) for path in sorted(folders, key=len, reverse=True))
    if not paths:
        return text
    return re.sub(rf"(?<![\w.-])(?:{paths})(?![\w.-])", lambda match: folders[match[0]], text)


def _expand(text: str, environ: Mapping[str, str]) -> str:
    """Kubernetes' $(NAME): unknown names stay as they are, $$ is a dollar."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environ.get(match[1], match[0])

    return _VARIABLE.sub(value, text)


def _item(spec: Fields, key: str, kind: str, name: str) -> Fields:
    for each in spec.mappings(key):
        if each.text("name") == name:
            return each
    raise spec.error(key, f"has no {kind} {name!r}", "name it as model.yaml's target does")


def _image_volume(spec: Fields, name: str) -> str:
    volume = _item(spec, "volumes", "volume", name)
    if "image" not in volume:
        raise volume.error("name", "is no image volume", "give it image: {reference: …}, as model.yaml's target says")
    return volume.mapping("image").text("reference")


def _copied_to(container: Fields, copy_to: str) -> tuple[Mount, str]:
    target = PurePosixPath(copy_to)
    for mount in sorted(_mounts(container), key=lambda each: -len(each.path)):
        if target.is_relative_to(mount.path):
            return mount, str(target.relative_to(mount.path))
    raise container.error(
        "volumeMounts", f"has none at {copy_to}, where the model is copied to", "mount the volume where model.yaml says"
    )


def _server(spec: Fields, volume: str) -> Fields:
    containers = spec.mappings("containers")
    using = [each for each in containers if any(mount.volume == volume for mount in _mounts(each))]
    if len(using) != 1:
        found = "no container mounts" if not using else "several containers mount"
        raise spec.error("containers", f"{found} the model's volume {volume!r}, one must serve it")
    return using[0]


def _mounts(container: Fields) -> tuple[Mount, ...]:
    return tuple(
        Mount(each.text("name"), each.text("mountPath").rstrip("/") or "/", each.text("subPath", "").strip("/"))
        for each in container.mappings("volumeMounts")
    )


def _check_volumes(spec: Fields, needed: set[str]) -> None:
    for volume in spec.mappings("volumes"):
        if volume.text("name") in needed and "emptyDir" not in volume:
            raise volume.error("name", "is no emptyDir, a rehearsal has nothing to put there", _use_annotation())


def _words(container: Fields, key: str) -> list[str]:
    value = container.value(key, [])
    if not isinstance(value, list):
        raise container.error(key, "is not a list")
    return [str(word) for word in value]


def _env_value(variable: Fields) -> str | None:
    return None if "valueFrom" in variable else variable.text("value", "")


def _probe(probe: Fields) -> str:
    if "httpGet" not in probe:
        return ""
    check = probe.mapping("httpGet")
    if check.text("scheme", "HTTP").upper() != "HTTP":
        raise check.error("scheme", "must be HTTP in a rehearsal")
    path = check.text("path", "/")
    return path if path.startswith("/") else f"/{path}"


def _use_annotation() -> str:
    return f"say how to start the server here with the pod template's annotation {ANNOTATION_COMMAND}"
