"""Manifests that other projects ship: each container's image is edited alone, or the file refused for a known reason.

They are those of the Go modules that the tests' servers are built from, and this repository's own.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from modelpack.errors import ModelpackError
from modelpack.target import Target
from modelpack.yamledit import edit, find, holds
from tests.integration.conftest import available
from tests.integration.servers.gotools import go_module
from tests.unit.yamledit.corpus import IMAGE, reference

ROOT = Path(__file__).parents[2]
MODULES = {
    "contour": "github.com/projectcontour/contour",
    "flagger": "github.com/fluxcd/flagger",
    "flux-kustomize": "github.com/fluxcd/kustomize-controller",
    "flux-source": "github.com/fluxcd/source-controller",
    "kube-router": "github.com/cloudnativelabs/kube-router",
    "kubernetes": "k8s.io/kubernetes",
    "versitygw": "github.com/versity/versitygw",
}
OWN = ("manifests", "flagger")
TEMPLATE = {"Pod": ("spec",), "CronJob": ("spec", "jobTemplate", "spec", "template", "spec")}
PODS = dict.fromkeys(("Deployment", "DaemonSet", "StatefulSet", "Job"), ("spec", "template", "spec")) | TEMPLATE
_SHIPPED = re.compile(rb"^ *-? *['\"]?kind['\"]?: *['\"]?(?:%s)\b" % "|".join(PODS).encode(), re.MULTILINE)
LARGEST, MOST = 60_000, 300  # bytes; files of one module: the reference parser is slow

REASONS = r"is a template|is a variable|there is a second|is not YAML|is given twice|is shared through an anchor"


class Found(NamedTuple):
    """A container as the reference parser sees it."""

    target: Target
    holder: dict[str, Any]


def files(folder: Path) -> list[Path]:
    """The manifests below a folder that may have a container, a sample if they are many."""
    all_of = sorted(each for ending in ("*.yaml", "*.yml") for each in folder.rglob(ending) if each.is_file())
    small = (each for each in all_of if each.stat().st_size < LARGEST)
    shipped = [each for each in small if _SHIPPED.search(each.read_bytes()) and b"image:" in each.read_bytes()]
    return random.Random(1).sample(shipped, min(MOST, len(shipped)))


def containers(name: str, documents: list[Any]) -> Iterator[Found]:
    listed = (each.get("items") or [each] for each in documents if isinstance(each, dict))
    for each in (each for items in listed for each in items if isinstance(each, dict)):
        kind, metadata, pod = each.get("kind"), each.get("metadata") or {}, each
        for key in PODS.get(str(kind), ("",)):
            pod = (pod.get(key) or {}) if isinstance(pod, dict) else {}
        for key, selector in (("initContainers", "init_container"), ("containers", "container")):
            for item in pod.get(key) or ():
                words = (item.get("image"), item.get("name"), metadata.get("name"))
                if all(isinstance(word, str) and word for word in words):
                    where = {"namespace": str(metadata.get("namespace", "")), selector: item["name"]}
                    yield Found(Target(name, str(kind), metadata["name"], **where), item)


def refusal(data: bytes, target: Target, reasons: str = REASONS) -> str:
    """The reason of a refusal, which must be a known one; "" where an edit is made."""
    try:
        edit(data, target.file, target, IMAGE)
    except ModelpackError as error:
        reason = re.search(reasons, str(error))
        assert reason and target.file in str(error) and "\n" not in str(error), str(error)
        return reason[0]
    return ""


def check(data: bytes, found: Found, documents: list[Any]) -> None:
    """Exactly this value is another: for the reference parser, and in bytes."""
    target, old = found.target, found.holder["image"]
    assert find(data, target.file, target).value == old
    after = edit(data, target.file, target, IMAGE)
    places = re.finditer(re.escape(old.encode()), data)
    assert any(data[: each.start()] + IMAGE.encode() + data[each.end() :] == after for each in places), target
    found.holder["image"] = IMAGE
    assert reference.difference(reference.load(after), documents) == "", target
    found.holder["image"] = old
    assert holds(after, target.file, target, IMAGE)


def edited(folder: Path) -> tuple[int, Counter[str]]:
    """How many containers of a folder's manifests were edited, and why the others were not."""
    count, refused = 0, Counter[str]()
    for file in files(folder):
        data, name = file.read_bytes(), str(file.relative_to(folder))
        try:
            documents = reference.load(data)
        except ValueError:
            nothing = Target(name, "Deployment", "there-is-none", container="model")
            refused[refusal(data, nothing, f"{REASONS}|there is no Deployment")] += 1
            continue
        for each in containers(name, documents):
            reason = refusal(data, each.target)
            if reason:
                refused[reason] += 1
                continue
            check(data, each, documents)
            count += 1
    return count, refused


@pytest.fixture(scope="module")
def folders() -> Iterator[list[Path]]:
    with available(lambda: nullcontext([go_module(*each) for each in MODULES.items()])) as modules:
        yield modules


def test_other_projects_manifests(folders: list[Path]) -> None:
    found = [edited(each) for each in folders]
    assert sum(count for count, _ in found) >= 100
    assert all(count or refused for count, refused in found), "a module ships no manifest any more"


@pytest.mark.parametrize("folder", OWN)
def test_our_own_manifests(folder: str) -> None:
    count, refused = edited(ROOT / folder)
    assert count and not refused
