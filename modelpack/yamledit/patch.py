"""Patches written inside a Kustomization: YAML in a block of YAML, as a partial object or as JSON patch operations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from modelpack.errors import NotFoundError, RefusedError
from modelpack.target import IMAGE, Target
from modelpack.yamledit import workload
from modelpack.yamledit.embedded import embedded
from modelpack.yamledit.kustomize import kustomizations
from modelpack.yamledit.slot import Slots, slot
from modelpack.yamledit.stream import Stream
from modelpack.yamledit.tree import Tree, scalar

_LISTS = ("patches", "patchesJson6902", "patchesStrategicMerge")


@dataclass(frozen=True)
class Patch:
    """The text of a patch, and whether the `target` beside it names the object that is looked for."""

    tree: Tree
    aimed: bool


def patches(stream: Stream, target: Target) -> Iterator[Patch]:
    """The inline patches of a file that can be about a target."""
    for tree, holder in kustomizations(stream):
        for key, items in holder.value:
            if key.value not in _LISTS or not isinstance(items, yaml.SequenceNode):
                continue
            tree.child(holder, key.value)
            tree.check_unshared(items)
            for item in items.value:
                node, aim = item, tree.peek(item, "target")
                if isinstance(item, yaml.MappingNode):
                    pair = tree.child(item, "patch")
                    tree.check_unshared(item)
                    node = pair[1] if pair else item
                aimed = [scalar(tree.peek(aim, each)) for each in ("kind", "name")] == [target.kind, target.name]
                # patchesStrategicMerge has the names of files as well
                about = isinstance(node, yaml.ScalarNode) and ("\n" in node.value or "{" in node.value)
                if about and (aimed or target.name in node.value):
                    yield Patch(embedded(tree, node), aimed)


def objects(patch: Patch, target: Target) -> Iterator[tuple[Tree, yaml.MappingNode]]:
    """The partial objects in a patch that a target names."""
    for node in patch.tree.documents:
        if isinstance(node, yaml.MappingNode) and (patch.aimed or node in workload.matching(patch.tree, target)):
            yield patch.tree, node


def operations(patch: Patch, target: Target) -> Iterator[Slots]:
    """The images that JSON patch operations (RFC 6902) set for a target.

    An operation names an item by its number: whether that is the target's is known from a `test` of its name, if there
    is one, and from its name where it is added whole.
    """
    if not patch.aimed:
        return
    tree = patch.tree
    above = "/".join(("", *workload.TEMPLATE.get(target.kind, workload.USUAL), "spec"))
    key, _, name = workload.item_of(target)
    field = "image/reference" if target.volume else "image"
    tests: dict[str, str] = {}
    for document in tree.documents:
        for item in document.value if isinstance(document, yaml.SequenceNode) else ():
            kind, path, value = (tree.peek(item, each) for each in ("op", "path", "value"))
            if scalar(kind) == "test" and scalar(path).endswith("/name"):
                tests[scalar(path).removesuffix("/name")] = scalar(value)
            if scalar(kind) not in ("add", "replace") or value is None:
                continue
            for each in ("op", "path", "value"):
                tree.child(item, each)
            tree.check_unshared(document, item, value)
            match = re.fullmatch(rf"({re.escape(f'{above}/{key}')})(?:(/(?:\d+|-))(/{field})?)?", scalar(path))
            if not match:
                continue
            if match[3]:
                if isinstance(value, yaml.ScalarNode) and tests.get(match[1] + match[2], name) == name:
                    yield Slots((slot(tree, IMAGE, value),))
            elif match[2]:
                if isinstance(value, yaml.MappingNode) and scalar(tree.peek(value, "name")) == name:
                    yield workload.in_item(tree, value, target)
            elif isinstance(value, yaml.SequenceNode) and name in [
                scalar(tree.peek(each, "name")) for each in value.value
            ]:
                yield workload.in_item(tree, workload.named(tree, value, "item", name, "the patch"), target)


def place(stream: Stream, target: Target, found: list[Patch]) -> Slots:
    """The one image that the patches set for a target. Raises NotFoundError for none, RefusedError for two."""
    places = [place for patch in found for place in operations(patch, target)]
    for patch in found:
        for tree, node in objects(patch, target):
            holder = workload.pod_template(tree, node, target).node
            if tree.peek(holder, "spec", workload.item_of(target)[0]) is not None:
                places.append(workload.in_template(tree, holder, target))
    if not places:
        raise NotFoundError(f"{stream.name}:1", f"no patch here sets the image of {workload.wanted(target)}")
    if len(places) > 1:
        second = places[1].slots[0]
        raise RefusedError(
            second.tree.where(second.node), f"there is a second patch of {workload.wanted(target)}'s image"
        )
    return places[0]
