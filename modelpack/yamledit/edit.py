"""The edits: set the image that a target names; set, read and remove an annotation of the pod template."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import yaml

from modelpack.definition import Target
from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.fields import nearest
from modelpack.yamledit.tree import MAP, NULL, STR, Tree, line_of, scalar

# what stands for itself in every style of YAML, whatever surrounds it
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*[A-Za-z0-9]")


@dataclass(frozen=True)
class Site:
    """Where a target's image stands: its value now, its line from 1, its bytes `[start, end)` with quotes."""

    value: str
    line: int
    start: int
    end: int


def find(data: bytes, name: str, target: Target) -> Site:
    """Locate the target in a file's bytes; `name` is the file's, for messages.

    Raises NotFoundError with file and line if it is not there, RefusedError where the file is ambiguous.
    """
    tree = Tree.parse(data, name)
    node = _image(tree, target)
    start, end = _span(tree, node)
    offset = len(tree.mark) + len(tree.text[:start].encode())
    return Site(node.value, line_of(node), offset, offset + len(tree.text[start:end].encode()))


def edit(data: bytes, name: str, target: Target, image: str) -> bytes:
    """The file with the target's image set, everything else the same byte for byte.

    Raises as `find` does, and RefusedError if the value cannot be changed alone.
    """
    _check_plain(image, "an image")
    tree = Tree.parse(data, name)
    node = _image(tree, target)
    return data if node.value == image else _replace(tree, node, image)


def annotate(data: bytes, name: str, target: Target, key: str, value: str) -> bytes:
    """The file with an annotation of the target's pod template set; what is missing on the way is added."""
    _check_plain(key, "an annotation's name")
    _check_plain(value, "an annotation's value")
    tree = Tree.parse(data, name)
    _, spec, holder = _template(tree, target)
    at = next(name for name, node in spec.value if node is holder)
    keys = ["metadata", "annotations", key]
    while True:
        found = tree.child(holder, keys[0])
        if found is None:
            return _insert(tree, at, holder, keys, value)
        at, node = found
        tree.check_unshared(node)
        keys.pop(0)
        if node.tag == NULL:
            return _fill(tree, holder, at, node, keys, value)
        if not keys:
            break
        if not isinstance(node, yaml.MappingNode):
            raise InputError(tree.where(node), f"{keys[0]} cannot be set here: this is not a mapping")
        holder = node
    if not isinstance(node, yaml.ScalarNode):
        raise InputError(tree.where(node), f"{key} is not a text")
    return data if node.value == value else _replace(tree, node, value)


def annotation(data: bytes, name: str, target: Target, key: str) -> str:
    """An annotation of the target's pod template, "" if there is none."""
    tree = Tree.parse(data, name)
    return scalar(tree.peek(_template(tree, target)[-1], "metadata", "annotations", key))


def unannotate(data: bytes, name: str, target: Target, key: str) -> bytes:
    """The file without an annotation of the target's pod template, nor what held nothing else: undoes `annotate`."""
    tree = Tree.parse(data, name)
    node: yaml.Node = _template(tree, target)[-1]
    steps: list[tuple[yaml.MappingNode, tuple[yaml.Node, yaml.Node]]] = []
    for each in ("metadata", "annotations", key):
        found = tree.child(node, each) if isinstance(node, yaml.MappingNode) else None
        if found is None:
            return data
        assert isinstance(node, yaml.MappingNode)
        steps.append((node, found))
        node = found[1]
        tree.check_unshared(node)
    while len(steps) > 1 and len(steps[-1][0].value) == 1:
        steps.pop()
    return _remove(tree, *steps[-1], last=node)


def _check_plain(text: str, what: str) -> None:
    if not _PLAIN.fullmatch(text):
        raise InputError(text or '""', f"is not {what}")


# --- finding


def _workload(tree: Tree, target: Target) -> yaml.MappingNode:
    """The one object that the target names."""
    found, others = [], []
    for node in tree.objects():
        metadata = tree.peek(node, "metadata")
        kind, title = scalar(tree.peek(node, "kind")), scalar(tree.peek(metadata, "name"))
        namespace = scalar(tree.peek(metadata, "namespace"))
        # a file without a namespace gets its own from kustomize or kubectl
        if (kind, title) == (target.kind, target.name) and target.namespace in ("", namespace or target.namespace):
            found.append(node)
        elif kind:
            others.append(f"{kind} {f'{namespace}/' if namespace else ''}{title} (line {line_of(node)})")
    wanted = f"{target.kind} {f'{target.namespace}/' if target.namespace else ''}{target.name}"
    if not found:
        line = line_of(tree.documents[0]) if tree.documents else 1
        raise NotFoundError(
            f"{tree.name}:{line}", f"there is no {wanted}", f"found: {', '.join(others) or 'no object'}"
        )
    if len(found) > 1:
        raise RefusedError(
            tree.where(found[1]), f"there is a second {wanted}, the first is on line {line_of(found[0])}"
        )
    for document in tree.documents:
        if isinstance(tree.peek(document, "sops", "mac"), yaml.ScalarNode):
            raise RefusedError(
                tree.where(document), "is encrypted with SOPS, an edit breaks its seal", "edit it with sops"
            )
    return found[0]


def _template(tree: Tree, target: Target) -> list[yaml.MappingNode]:
    """The workload, its spec and its pod template."""
    chain = [_workload(tree, target)]
    for key in ("spec", "template"):
        node = tree.need(chain[-1], key, yaml.MappingNode, f"{target.kind} {target.name}")
        assert isinstance(node, yaml.MappingNode)
        chain.append(node)
    tree.check_unshared(*chain)
    return chain


def _image(tree: Tree, target: Target) -> yaml.ScalarNode:
    """The scalar that holds the init container's image, or the image volume's reference."""
    what = f"{target.kind} {target.name}"
    pod = tree.need(_template(tree, target)[-1], "spec", yaml.MappingNode, what)
    kind, name = ("volume", target.volume) if target.volume else ("init container", target.init_container)
    items = tree.need(pod, "volumes" if target.volume else "initContainers", yaml.SequenceNode, what)
    item = _named(tree, items, kind, name, what)
    tree.check_unshared(pod, items, item)
    if target.volume and tree.child(item, "image") is None:
        found = ", ".join(str(each.value) for each, _ in item.value if each.value != "name") or "nothing"
        remedy = "give it image: {reference: …}, or name the init container in model.yaml"
        raise NotFoundError(tree.where(item), f"volume {name!r} is no image volume, it has {found}", remedy)
    holder: yaml.Node = item
    if target.volume:
        holder = tree.need(item, "image", yaml.MappingNode, f"volume {name!r}")
    image = tree.need(holder, "reference" if target.volume else "image", yaml.ScalarNode, f"{kind} {name!r}")
    assert isinstance(image, yaml.ScalarNode)
    tree.check_unshared(holder, image)
    return image


def _named(tree: Tree, items: yaml.Node, kind: str, name: str, what: str) -> yaml.MappingNode:
    """The one item of a list that has a name."""
    names = [scalar(tree.peek(item, "name")) for item in items.value]
    found = [item for item, each in zip(items.value, names, strict=True) if each == name]
    if not found:
        near = nearest(name, names)
        remedy = f"did you mean {near!r}?" if near else f"found: {', '.join(names) or 'none'}"
        raise NotFoundError(tree.where(items), f"{what} has no {kind} {name!r}", remedy)
    if len(found) > 1:
        raise RefusedError(tree.where(found[1]), f"there is a second {kind} {name!r}")
    tree.child(found[0], "name")
    assert isinstance(found[0], yaml.MappingNode)
    return found[0]


# --- splicing


def _span(tree: Tree, node: yaml.ScalarNode) -> tuple[int, int]:
    """Where a scalar is written, with its quotes."""
    start, end = tree.content(node), node.end_mark.index
    if node.style not in ("|", ">"):
        return start, end
    body = tree.text.find("\n", start, end) + 1  # after the | or > and what follows it
    words = node.value.strip()
    if not words or tree.text.count(words, body, end) != 1:
        raise RefusedError(tree.where(node), "is folded over several lines", "write it on one line")
    at = tree.text.index(words, body, end)
    return at, at + len(words)


def _replace(tree: Tree, node: yaml.ScalarNode, value: str) -> bytes:
    start, end = _span(tree, node)
    if node.style in ("|", ">"):
        node.value, new = node.value.replace(node.value.strip(), value), value
    else:
        quote = node.style or ""
        node.value, new = value, f"{quote}{value}{quote}"
    node.tag = STR
    return tree.splice(start, end, new)


def _insert(tree: Tree, key: yaml.Node, mapping: yaml.MappingNode, keys: list[str], value: str) -> bytes:
    """Add nested keys as the first entry of a mapping, which is the value of `key`."""
    if mapping.flow_style:
        at = tree.content(mapping) + 1
        new = _flow(keys, value)[1:-1] + (", " if mapping.value else "")
    else:
        # on the line after the key: a comment above the first entry stays with that entry
        at = tree.text.find("\n", key.end_mark.index) + 1
        end = "\r\n" if tree.text[at - 2 : at] == "\r\n" else "\n"
        first = mapping.value[0][0].start_mark
        line = tree.text[first.index - first.column : first.index]
        indent = len(line) - len(line.lstrip(" "))  # a key after "? " starts further right
        words = [f"{each}:" for each in keys]
        words[-1] += f" {json.dumps(value)}"
        new = "".join(f"{' ' * (indent + 2 * depth)}{word}{end}" for depth, word in enumerate(words))
    mapping.value.insert(0, (yaml.ScalarNode(STR, keys[0]), _nodes(keys[1:], value)))
    return tree.splice(at, at, new)


def _fill(tree: Tree, holder: yaml.MappingNode, key: yaml.Node, null: yaml.Node, keys: list[str], value: str) -> bytes:
    """Write a value where null or nothing stands."""
    start, end = null.start_mark.index, null.end_mark.index  # a tag !!null goes with it
    node = _nodes(keys, value)
    holder.value = [(name, node if name is key else each) for name, each in holder.value]
    return tree.splice(start, end, (" " if start == end else "") + _flow(keys, value))


def _flow(keys: list[str], value: str) -> str:
    """Nested keys in flow style, as in {annotations: {key: "value"}}."""
    return f"{{{keys[0]}: {_flow(keys[1:], value)}}}" if keys else json.dumps(value)


def _nodes(keys: list[str], value: str) -> yaml.Node:
    if not keys:
        return yaml.ScalarNode(STR, value)
    return yaml.MappingNode(MAP, [(yaml.ScalarNode(STR, keys[0]), _nodes(keys[1:], value))])


def _remove(tree: Tree, mapping: yaml.MappingNode, pair: tuple[yaml.Node, yaml.Node], last: yaml.Node) -> bytes:
    """Take an entry out of a mapping; `last` is the scalar that it ends with."""
    key, value = pair
    at = mapping.value.index(pair)
    if mapping.flow_style:
        start, end = key.start_mark.index, value.end_mark.index
        if at + 1 < len(mapping.value):
            end = tree.text.index(",", end) + 1  # not to the next key: a "? " may stand before that
            end += len(tree.text[end:]) - len(tree.text[end:].lstrip(" "))
        elif at:
            start = mapping.value[at - 1][1].end_mark.index
    else:
        start = key.start_mark.index - key.start_mark.column
        end = tree.text.find("\n", last.end_mark.index - 1) + 1 or len(tree.text)
    del mapping.value[at]
    return tree.splice(start, end, "")
