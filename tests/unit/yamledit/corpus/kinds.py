"""What is written: objects as serving repositories have them, each with the place that a target names."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelpack.target import Target
from tests.unit.yamledit.corpus import around
from tests.unit.yamledit.corpus.style import Alias, Anchor, Inner, Slot

REGISTRY, PATH = "registry.example.com:5000", "models/mpg"
REPOSITORY = f"{REGISTRY}/{PATH}"
DIGEST = "sha256:" + "5e" * 32
IMAGE = f"{REPOSITORY}:v2.1.0@{DIGEST}"
"""What every edit of the corpus writes."""
TAG = "v2.1.0"
POLICY = "flux-system:mpg"

_OLD_DIGEST = "sha256:" + "0a" * 32
_OLD = (f"{REPOSITORY}:v2.0.9", f"{REPOSITORY}:v2.0.9@{_OLD_DIGEST}", f"{REPOSITORY}@{_OLD_DIGEST}", f"{PATH}:1.10")
_OLD_TAGS = ("v2.0.9", "1.10", "yes", "0x10", "2024-01-31", "latest", "on", "1e3")
STALE = {"newName": "registry.example.com/old/mpg", "newTag": "v2.0.9", "digest": _OLD_DIGEST}


@dataclass(frozen=True)
class Made:
    """Documents with one target in them.

    `unsafe` says why an edit may be refused, "" where it has to be made; `adds` is what an entry of a Kustomization's
    images has to be, where some of it is missing.
    """

    documents: list[Any]
    target: Target
    unsafe: str = ""
    adds: Mapping[str, str] | None = None


def workload(kind: str, where: str) -> Callable[[random.Random], Made]:
    """A workload with the model in an init container, in a container or in an image volume."""

    def make(chance: random.Random) -> Made:
        slot = Slot(chance.choice(_OLD), IMAGE)
        target = replace(Target("m.yaml", kind, "mpg"), **{where: "model"})
        return Made(around.documents(chance, around.workload(chance, kind, where, slot)), target)

    return make


def marked(kind: str, by_name: bool) -> Callable[[random.Random], Made]:
    """The same with Flux's marker beside the image, found by the workload or by the marker."""

    def make(chance: random.Random) -> Made:
        note = chance.choice(['# {"$imagepolicy": "%s"}', '#{"$imagepolicy":"%s"}', '#  { "$imagepolicy" : "%s" }'])
        slot = Slot(chance.choice(_OLD[:2]), IMAGE, marker=note % POLICY)
        made = around.workload(chance, kind, "init_container", slot)
        target = Target("m.yaml", kind, "mpg", "model") if by_name else Target("m.yaml", marker=POLICY)
        return Made(around.documents(chance, made), target)

    return make


def shared(kind: str) -> Callable[[random.Random], Made]:
    """The image comes by an alias, or is an anchor that others use; or only its neighbours are."""

    def make(chance: random.Random) -> Made:
        slot = Slot(chance.choice(_OLD), IMAGE)
        made = around.workload(chance, kind, "init_container", slot)
        pod = made["spec"]["template"]["spec"]
        model = next(each for each in pod["initContainers"] if each["name"] == "model")
        how = chance.choice(["anchor", "alias", "item", "harmless"])
        if how == "anchor":
            model["image"] = Anchor("image", slot)
            pod["containers"] = [{"name": "probe", "image": Alias("image")}]
        elif how == "alias":
            made = {"x-image": Anchor("image", slot.old), **made}
            model["image"] = Alias("image", slot)
        elif how == "item":
            model["env"] = Anchor("env", [{"name": "A", "value": "1"}])
            pod["containers"].append({"name": "log", "image": "registry.example.com/log:1", "env": Alias("env")})
        else:
            made = {"x-labels": Anchor("labels", {"team": "serving"}), **made}
            made["metadata"]["labels"] = {"<<": Alias("labels"), "app": "mpg"}
        return Made([made], Target("m.yaml", kind, "mpg", "model"), how if how in ("anchor", "alias") else "")

    return make


def inference_service(chance: random.Random) -> Made:
    old = f"oci://{chance.choice(_OLD[:3])}"
    model = {
        "modelFormat": {"name": "sklearn"},
        "storageUri": Slot(old, f"oci://{IMAGE}"),
        "resources": around.RESOURCES,
    }
    body = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": around.metadata(chance),
        "spec": {"predictor": {"minReplicas": 1, "model": model, "tolerations": around.TOLERATIONS}},
    }
    return Made(around.documents(chance, body), Target("m.yaml", "InferenceService", "mpg"))


def kustomization(chance: random.Random) -> Made:
    name = chance.choice([REPOSITORY, "model", "models/mpg"])
    keys = chance.choice([("newTag", "digest"), ("newName", "newTag", "digest"), ("newName", "digest", "newTag")])
    slots = {
        "newName": Slot("registry.example.com/old/mpg", REPOSITORY),
        "newTag": Slot(chance.choice(_OLD_TAGS[:6]), TAG),
        "digest": Slot(_OLD_DIGEST, DIGEST),
    }
    if name != REPOSITORY and "newName" not in keys:
        name = REPOSITORY
    entry = {"name": name} | {key: slots[key] for key in keys}
    images = [{"name": "busybox", "newTag": "1.37"}, entry, {"name": "server", "newName": "registry.example.com/s"}]
    chance.shuffle(images)
    return Made([around.kustomization(chance) | {"images": images}], Target("kustomization.yaml", images=name))


def incomplete(chance: random.Random) -> Made:
    """A Kustomization that lacks the image, or some of what is written of it."""
    wanted = {"name": PATH, "newName": REPOSITORY, "newTag": TAG, "digest": DIGEST}
    entry = {"name": PATH} | {key: STALE[key] for key in chance.sample(sorted(STALE), chance.randrange(3))}
    body = around.kustomization(chance)
    how = chance.choice(["no images", "null", "others", "entry", "entry"])
    if how == "null":
        body["images"] = None
    elif how != "no images":
        body["images"] = [{"name": "busybox", "newTag": "1.37"}, *([entry] if how == "entry" else [])]
    return Made([body], Target("kustomization.yaml", images=PATH), adds=wanted)


def patched(chance: random.Random) -> Made:
    """A Kustomization with a patch in a string."""
    patch = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: mpg  # of the base
spec:
  template:
    spec:
      initContainers:
      - name: model
        image: @   # the model
"""
    body = around.kustomization(chance)
    patches = [{"path": "replicas.yaml"}, {"patch": Inner(patch, Slot(chance.choice(_OLD), IMAGE))}]
    return Made([body | {"patches": patches}], Target("kustomization.yaml", "Deployment", "mpg", "model"))


def helm_values(shape: str) -> Callable[[random.Random], Made]:
    """A chart's values file: `text`, `split`, `three` (with a registry apart) or `list`."""

    def make(chance: random.Random) -> Made:
        held, places = _held(chance, shape, ("server", "model"))
        body = {"nameOverride": "", **around.values(chance), "server": {"port": 8080, "model": held, "extraArgs": []}}
        return Made([body], Target("values.yaml", values=places))

    return make


def release(kind: str, shape: str) -> Callable[[random.Random], Made]:
    """Values inside a HelmRelease or an Application."""

    def make(chance: random.Random) -> Made:
        held, places = _held(chance, shape, ("model",))
        values = {**around.values(chance), "model": held}
        if kind == "HelmRelease":
            chart = {"spec": {"chart": "model-server", "version": "1.x", "sourceRef": {"kind": "HelmRepository"}}}
            api, spec = "helm.toolkit.fluxcd.io/v2", {"interval": "10m", "chart": chart, "values": values}
        else:
            source = {"repoURL": "https://charts.example.com", "chart": "model-server", "targetRevision": "1.2.*"}
            api, spec = "argoproj.io/v1alpha1", {"source": source | {"helm": {"valuesObject": values}}}
        body = {"apiVersion": api, "kind": kind, "metadata": around.metadata(chance), "spec": spec}
        return Made(around.documents(chance, body), Target("m.yaml", kind, "mpg", values=places))

    return make


def application_text(chance: random.Random) -> Made:
    """An Application whose values are YAML in a string."""
    text = "replicas: 2  # per zone\nmodel:\n  image: @  # bumped\n  path: /mnt/models\n"
    helm = {"values": Inner(text, Slot(chance.choice(_OLD), IMAGE))}
    source = {"repoURL": "https://charts.example.com", "chart": "model-server", "helm": helm}
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": around.metadata(chance),
        "spec": {"project": "default", "source": source, "syncPolicy": {"automated": {"prune": True}}},
    }
    return Made([body], Target("m.yaml", "Application", "mpg", values=(("image", "model.image"),)))


def marked_values(chance: random.Random) -> Made:
    """Values with Flux's markers of all forms."""
    held = {
        "repository": Slot("registry.example.com/old/mpg", REPOSITORY, marker=f'# {{"$imagepolicy": "{POLICY}:name"}}'),
        "tag": Slot(chance.choice(_OLD_TAGS[:1]), TAG, marker=f'# {{"$imagepolicy": "{POLICY}:tag"}}'),
        "digest": Slot(_OLD_DIGEST, DIGEST, marker=f'# {{"$imagepolicy": "{POLICY}:digest"}}'),
    }
    whole = Slot(_OLD[0], IMAGE, marker=f'# {{"$imagepolicy": "{POLICY}"}}')
    values = {**around.values(chance), "model": held, "warmup": {"image": whole}}
    body = {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": around.metadata(chance),
        "spec": {"interval": "10m", "values": values},
    }
    return Made([body], Target("m.yaml", marker=POLICY))


def kpt(chance: random.Random) -> Made:
    slot = Slot(chance.choice(_OLD), IMAGE, marker="# kpt-set: ${model-image}")
    made = around.workload(chance, "Deployment", "container", slot)
    return Made(around.documents(chance, made), Target("m.yaml", setter="model-image"))


def anything(chance: random.Random) -> Made:
    """A file of one's own, and a path into it."""
    body = {
        "title": "settings of the scorer",
        "endpoints": [{"name": "a", "model": "none"}, {"name": "b", "model": Slot(chance.choice(_OLD), IMAGE)}],
        "limits": {"cpu": 1, "memory": "2Gi", "burst": None, "share": 0.5},
        **around.values(chance),
    }
    return Made([body], Target("settings.yaml", path="endpoints[1].model"))


def _held(chance: random.Random, shape: str, above: tuple[str, ...]) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """What a chart calls a model, and the target's values for it."""
    path, tag = ".".join(above), chance.choice(_OLD_TAGS)
    split = {
        "repository": Slot("registry.example.com/old/mpg", REPOSITORY),
        "tag": Slot(tag, TAG),
        "digest": Slot(_OLD_DIGEST, DIGEST),
    }
    if shape == "text":
        return {"image": Slot(chance.choice(_OLD), IMAGE)}, (("image", f"{path}.image"),)
    if shape == "list":
        return [{"image": "other"}, {"image": Slot(_OLD[0], IMAGE)}], (("image", f"{path}[1].image"),)
    if shape == "three":
        split |= {"registry": Slot("registry.example.com", REGISTRY), "repository": Slot("old/mpg", PATH)}
    held = {"pullPolicy": "IfNotPresent", **split, "pullSecrets": []}
    return held, tuple((part, f"{path}.{part}") for part in split)
