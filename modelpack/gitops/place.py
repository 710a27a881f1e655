"""Where the object runs that a target is about, as far as the files beside it tell: that is how a Canary is found.

A Kustomization in the target's folder sets the namespace of everything it builds. Without one the target's own
`namespace` counts, then the object's. What is set elsewhere, like a GitOps agent's target namespace, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

from modelpack.fields import Fields, compose
from modelpack.reference import Reference
from modelpack.target import RELEASES, WORKLOADS, Target

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""The names by which kustomize finds a folder's Kustomization."""

Read = Callable[[str], "bytes | None"]


@dataclass(frozen=True)
class Place:
    """A namespace, and the name of the workload there; "" is any: the files do not say."""

    namespace: str = ""
    name: str = ""

    def holds(self, namespace: str, name: str) -> bool:
        """Whether a Canary of this namespace and name may be the one. By convention it is called as its workload."""
        return self.namespace in ("", namespace) and self.name in ("", name)


def kustomization_beside(read: Read, path: str) -> str:
    """The path of the Kustomization in a file's folder, which may be the file itself; "" if there is none."""
    beside = (str(PurePosixPath(path).with_name(name)) for name in KUSTOMIZATIONS)
    return next((each for each in beside if read(each) is not None), "")


def place_of(read: Read, target: Target) -> Place:
    """Where a target's workload runs; `read` gives a file of the tip. Raises InputError for what is no YAML."""
    name = target.name if target.kind in WORKLOADS else ""
    if overlay := kustomization_beside(read, target.file):
        fields = _first(read(overlay) or b"", overlay)
        affixed = f"{fields.text('namePrefix', '')}{name}{fields.text('nameSuffix', '')}" if name else ""
        if namespace := fields.text("namespace", ""):
            return Place(namespace, affixed)
        name = affixed
    return Place(target.namespace or _namespace(read(target.file) or b"", target), name)


def whole(value: str, image: Reference) -> str:
    """A target's value as an image: of the model's own repository where it holds a tag or a digest alone."""
    name = value.partition("@")[0]
    if not value or "/" in name or ":" in name:
        return value
    return f"{image.name}{':' if name else ''}{value}"


def _namespace(data: bytes, target: Target) -> str:
    """The namespace that the target's object names, a release's own for what it installs."""
    if not target.kind:
        return ""
    for node in compose(data, target.file):
        if not isinstance(node, yaml.MappingNode):
            continue
        fields = Fields(target.file, node)
        metadata = fields.mapping("metadata")
        if (fields.text("kind", ""), metadata.text("name", "")) != (target.kind, target.name):
            continue
        if target.kind in RELEASES:
            spec = fields.mapping("spec")
            installed = spec.text("targetNamespace", "") or spec.mapping("destination").text("namespace", "")
            return installed or metadata.text("namespace", "")
        return metadata.text("namespace", "")
    return ""


def _first(data: bytes, name: str) -> Fields:
    node = next(iter(compose(data, name)), None)
    return Fields(name, node if isinstance(node, yaml.MappingNode) else yaml.MappingNode("tag:yaml.org,2002:map", []))
