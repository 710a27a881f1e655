"""The second edit: set, read and remove an annotation of the pod template that a target is in."""

from __future__ import annotations

import yaml

from modelpack.errors import InputError, RefusedError
from modelpack.target import Target
from modelpack.yamledit import write
from modelpack.yamledit.locate import template
from modelpack.yamledit.stream import Stream
from modelpack.yamledit.tree import NULL, scalar
from modelpack.yamledit.workload import Template


def has_template(data: bytes, name: str, target: Target) -> bool:
    """Whether a target is in a pod template of this file, which can be annotated. Raises as `edit.find` does."""
    return _template(Stream.parse(data, name), target) is not None


def annotate(data: bytes, name: str, target: Target, key: str, value: str) -> bytes:
    """The file with an annotation of the target's pod template set; what is missing on the way is added.

    Raises RefusedError for a target that has no pod template in the file.
    """
    for text, what in ((key, "an annotation's name"), (value, "an annotation's value")):
        if not write.PLAIN.fullmatch(text):
            raise InputError(text or '""', f"is not {what}")
    stream = Stream.parse(data, name)
    found = _template(stream, target)
    if not found:
        raise RefusedError(name, "has no pod template at the target", "name the file of the workload itself")
    tree, holder = found.tree, found.node
    tree.check_unshared(*found.chain)
    at = found.key
    keys = ["metadata", "annotations", key]
    while True:
        pair = tree.child(holder, keys[0])
        if pair is None and at is None:
            raise RefusedError(tree.where(holder), "has no metadata to put an annotation into", "write it out")
        if pair is None:
            assert at is not None
            return stream.write([(tree, write.insert_first(tree, at, holder, keys, value))])
        at, node = pair
        tree.check_unshared(node)
        keys.pop(0)
        if node.tag == NULL:
            return stream.write([(tree, write.fill(tree, holder, at, node, keys, value))])
        if not keys:
            break
        if not isinstance(node, yaml.MappingNode):
            raise InputError(tree.where(node), f"{keys[0]} cannot be set here: this is not a mapping")
        holder = node
    if not isinstance(node, yaml.ScalarNode):
        raise InputError(tree.where(node), f"{key} is not a text")
    return data if node.value == value else stream.write([(tree, write.set_text(tree, node, value))])


def annotation(data: bytes, name: str, target: Target, key: str) -> str:
    """An annotation of the target's pod template, "" if there is none."""
    found = _template(Stream.parse(data, name), target)
    return scalar(found.tree.peek(found.node, "metadata", "annotations", key)) if found else ""


def unannotate(data: bytes, name: str, target: Target, key: str) -> bytes:
    """The file without an annotation of the target's pod template, nor what held nothing else: undoes `annotate`."""
    stream = Stream.parse(data, name)
    found = _template(stream, target)
    if not found:
        return data
    tree, node = found.tree, found.node
    steps: list[tuple[yaml.MappingNode, tuple[yaml.Node, yaml.Node]]] = []
    for each in ("metadata", "annotations", key):
        pair = tree.child(node, each) if isinstance(node, yaml.MappingNode) else None
        if pair is None:
            return data
        steps.append((node, pair))
        tree.check_unshared(pair[1])
        node = pair[1]  # type: ignore[assignment]
    while len(steps) > 1 and len(steps[-1][0].value) == 1:
        steps.pop()
    tree.check_unshared(*found.chain)
    return stream.write([(tree, write.remove(tree, *steps[-1]))])


def _template(stream: Stream, target: Target) -> Template | None:
    inside = target.init_container or target.container or target.volume
    return template(stream, target) if inside else None
