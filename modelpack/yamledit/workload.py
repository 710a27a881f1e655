"""Objects and their pod templates: which scalar holds the image of a container or image volume, or the storageUri."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from modelpack.errors import NotFoundError, RefusedError
from modelpack.fields import nearest
from modelpack.target import IMAGE, Target
from modelpack.yamledit.slot import Slots, slot
from modelpack.yamledit.stream import Stream
from modelpack.yamledit.tree import Tree, scalar

_LISTED = 8
USUAL = ("spec", "template")
TEMPLATE: dict[str, tuple[str, ...]] = {"CronJob": ("spec", "jobTemplate", "spec", "template"), "Pod": ()}


@dataclass(frozen=True)
class Template:
    """A pod template, the value of `key` (None for a Pod itself), and the chain of nodes that leads to it."""

    tree: Tree
    chain: tuple[yaml.MappingNode, ...]
    key: yaml.Node | None

    @property
    def node(self) -> yaml.MappingNode:
        return self.chain[-1]


def find_object(stream: Stream, target: Target) -> tuple[Tree, yaml.MappingNode]:
    """The one object that a target names. Raises NotFoundError that says what is there, RefusedError for a second."""
    return only(stream, target, list(objects(stream, target)))


def objects(stream: Stream, target: Target) -> Iterator[tuple[Tree, yaml.MappingNode]]:
    """The objects of a file that a target names."""
    return ((tree, node) for tree in stream.about(target.name) for node in matching(tree, target))


def only(stream: Stream, target: Target, found: list[tuple[Tree, yaml.MappingNode]]) -> tuple[Tree, yaml.MappingNode]:
    """The one object that was found."""
    if not found:
        raise missing(stream, target)
    if len(found) > 1:
        (first, one), (second, other) = found[:2]
        problem = f"there is a second {wanted(target)}, the first is on line {first.line_of(one)}"
        raise RefusedError(second.where(other), problem)
    return found[0]


def wanted(target: Target) -> str:
    return f"{target.kind} {f'{target.namespace}/' if target.namespace else ''}{target.name}"


def matching(tree: Tree, target: Target) -> Iterator[yaml.MappingNode]:
    """The objects of a tree that a target names."""
    for node in tree.objects():
        metadata = tree.peek(node, "metadata")
        kind, title = scalar(tree.peek(node, "kind")), scalar(tree.peek(metadata, "name"))
        namespace = scalar(tree.peek(metadata, "namespace"))
        # a file without a namespace gets its own from kustomize or kubectl
        if (kind, title) == (target.kind, target.name) and target.namespace in ("", namespace or target.namespace):
            for key in ("kind", "metadata"):
                tree.child(node, key)
            yield node


def missing(stream: Stream, target: Target) -> NotFoundError | RefusedError:
    others: list[str] = []
    objects = ((tree, node) for tree in stream.trees for node in tree.objects())
    for tree, node in itertools.islice(objects, 1000):
        kind, title = scalar(tree.peek(node, "kind")), tree.peek(node, "metadata", "name")
        if (
            kind == target.kind
            and title is not None
            and "{{" in tree.text[title.start_mark.index : title.end_mark.index]
        ):
            return RefusedError(tree.where(title), "is a template ({{ }})", "name the file that fills it in")
        namespace = scalar(tree.peek(node, "metadata", "namespace"))
        if kind:
            others.append(f"{kind} {f'{namespace}/' if namespace else ''}{scalar(title)} (line {tree.line_of(node)})")
    if len(others) > _LISTED:
        others = [*others[:_LISTED], "and more"]
    tree = next((each for each in stream.trees if each.documents), stream.trees[0])
    where = tree.where(tree.documents[0]) if tree.documents else f"{stream.name}:1"
    return NotFoundError(where, f"there is no {wanted(target)}", f"found: {', '.join(others) or 'no object'}")


def pod_template(tree: Tree, node: yaml.MappingNode, target: Target) -> Template:
    chain, key = [node], None
    what = f"{target.kind} {target.name}"
    for each in TEMPLATE.get(target.kind, USUAL):
        below = tree.need(chain[-1], each, yaml.MappingNode, what)
        assert isinstance(below, yaml.MappingNode)
        key = next(name for name, value in chain[-1].value if value is below)
        chain.append(below)
    tree.check_unshared(*chain)
    return Template(tree, tuple(chain), key)


def in_template(tree: Tree, holder: yaml.Node, target: Target) -> Slots:
    """The image of a container or image volume in a pod template."""
    what = f"{target.kind} {target.name}"
    pod = tree.need(holder, "spec", yaml.MappingNode, what)
    key, kind, name = item_of(target)
    items = tree.need(pod, key, yaml.SequenceNode, what)
    tree.check_unshared(pod, items)
    return in_item(tree, named(tree, items, kind, name, what), target)


def item_of(target: Target) -> tuple[str, str, str]:
    """The list that a target's item is in, what that is for people, and its name."""
    if target.volume:
        return "volumes", "volume", target.volume
    if target.container:
        return "containers", "container", target.container
    return "initContainers", "init container", target.init_container


def in_item(tree: Tree, item: yaml.MappingNode, target: Target) -> Slots:
    """The image of one container or image volume."""
    _, kind, name = item_of(target)
    tree.check_unshared(item)
    if target.volume and tree.child(item, "image") is None:
        found = ", ".join(str(each.value) for each, _ in item.value if each.value != "name") or "nothing"
        remedy = "give it image: {reference: …}, or name the init container in model.yaml"
        raise NotFoundError(tree.where(item), f"volume {name!r} is no image volume, it has {found}", remedy)
    holder: yaml.Node = item
    if target.volume:
        holder = tree.need(item, "image", yaml.MappingNode, f"volume {name!r}")
        tree.check_unshared(holder)
    image = tree.need(holder, "reference" if target.volume else "image", yaml.ScalarNode, f"{kind} {name!r}")
    assert isinstance(image, yaml.ScalarNode)
    return Slots((slot(tree, IMAGE, image),))


def named(tree: Tree, items: yaml.Node, kind: str, name: str, what: str) -> yaml.MappingNode:
    """The one item of a list that has a name."""
    names = [scalar(tree.peek(item, "name")) for item in items.value]
    found = [item for item, each in zip(items.value, names, strict=True) if each == name]
    if not found:
        tree.check_literal(items)
        near = nearest(name, names)
        remedy = f"did you mean {near!r}?" if near else f"found: {', '.join(names) or 'none'}"
        raise NotFoundError(tree.where(items), f"{what} has no {kind} {name!r}", remedy)
    if len(found) > 1:
        raise RefusedError(tree.where(found[1]), f"there is a second {kind} {name!r}")
    tree.child(found[0], "name")
    assert isinstance(found[0], yaml.MappingNode)
    return found[0]


def storage(tree: Tree, node: yaml.MappingNode, target: Target) -> Slots:
    """The storageUri of a predictor: of its model, or below the key of a framework as in older InferenceServices."""
    what = f"{target.kind} {target.name}"
    spec = tree.need(node, "spec", yaml.MappingNode, what)
    predictor = tree.need(spec, "predictor", yaml.MappingNode, what)
    assert isinstance(predictor, yaml.MappingNode)
    tree.check_unshared(node, spec, predictor)
    keys = [scalar(key) for key, each in predictor.value if tree.peek(each, "storageUri") is not None]
    if len(keys) > 1:
        where = tree.where(predictor)
        raise RefusedError(where, f"{what} has several storageUri: of {', '.join(keys)}", "name one by its path")
    holder = tree.need(predictor, keys[0] if keys else "model", yaml.MappingNode, f"{what}'s predictor")
    uri = tree.need(holder, "storageUri", yaml.ScalarNode, f"{what}'s predictor")
    tree.check_unshared(holder)
    assert isinstance(uri, yaml.ScalarNode)
    found = slot(tree, IMAGE, uri)
    if not found.prefix.startswith("oci"):
        raise RefusedError(tree.where(uri), f"{what} has a storageUri that is no image", "start it with oci://")
    return Slots((found,))
