"""A Kustomize overlay as a rehearsal reads it: built by kustomize, and in what that gives the model's Deployment."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from modelpack.errors import InputError
from modelpack.fields import Fields, compose
from modelpack.reference import Reference
from modelpack.target import Target

_SECONDS = 120.0  # bases may come from elsewhere
KIND = "Deployment"


def build(folder: str, export: Callable[[Path], None]) -> bytes:
    """What an overlay's folder builds; `export` writes the repository's files. Raises InputError if it does not build.

    No plug-ins are run and no chart is inflated: kustomize has to be told to, and it is not.
    """
    command = _command(folder)
    with tempfile.TemporaryDirectory(prefix="modelpack-overlay-") as name:
        root = Path(name).resolve()
        export(root)
        try:
            done = subprocess.run(
                [*command, str(root / folder)], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(
                folder, f"is not built after {_SECONDS:.0f} s", "do its bases come from elsewhere?"
            ) from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").replace(f"{root}/", "").strip()
        raise InputError(folder, f"{command[0]} cannot build it: {words}", f"try {' '.join(command)} {folder}")
    return done.stdout


def _command(folder: str) -> list[str]:
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    raise InputError(
        folder,
        "is an overlay, and neither kustomize nor kubectl is on PATH to build it",
        "install one: https://kubectl.docs.kubernetes.io/installation/kustomize",
    )


def model_in(data: bytes, name: str, image: Reference, wanted: str = "") -> Target:
    """Where a built overlay has the model: the init container or image volume with `image`.

    `name` is what messages call the overlay, `wanted` is the Deployment's name where it is known.
    Raises InputError if there is none, or more than one.
    """
    found = [each for each in _places(data, name, image) if wanted in ("", each.name)]
    if len(found) != 1:
        several = " and ".join(f"{each.namespace}/{each.name}".lstrip("/") for each in found)
        problem = f"builds several Deployments with it: {several}" if found else f"builds no {KIND} with it"
        remedy = "let targets name one" if found else "model.yaml's image and the overlay's have to be the same"
        raise InputError(name, f"init container or image volume {image.name}: {problem}", remedy)
    return found[0]


def _places(data: bytes, name: str, image: Reference) -> Iterator[Target]:
    for fields in _objects(data, name, KIND):
        metadata = fields.mapping("metadata")
        whole = Target(name, KIND, metadata.text("name", ""), namespace=metadata.text("namespace", ""))
        pod = fields.mapping("spec").mapping("template").mapping("spec")
        for each in pod.mappings("initContainers"):
            if _is(each.text("image", ""), image):
                yield replace(whole, init_container=each.text("name", ""))
        for each in pod.mappings("volumes"):
            if _is(each.mapping("image").text("reference", ""), image):
                yield replace(whole, volume=each.text("name", ""))


def gate_files(data: bytes, name: str, model: str, namespace: str) -> dict[str, bytes]:
    """The gate's files as the overlay builds them: those of the ConfigMap `gate-MODEL`, where the gate looks for it."""
    for fields in _objects(data, name, "ConfigMap"):
        metadata = fields.mapping("metadata")
        if metadata.text("name", "") == f"gate-{model}" and metadata.text("namespace", "") in ("", namespace):
            texts = fields.mapping("data")
            return {key: texts.text(key).encode() for key in list(texts.keys())}
    return {}


def _objects(data: bytes, name: str, kind: str) -> Iterator[Fields]:
    for node in compose(data, name):
        if isinstance(node, yaml.MappingNode):
            fields = Fields(name, node)
            if fields.text("kind", "") == kind:
                yield fields


def _is(text: str, image: Reference) -> bool:
    try:
        return bool(text) and Reference.parse(text).name == image.name
    except InputError:
        return False
