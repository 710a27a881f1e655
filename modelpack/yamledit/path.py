"""A path to one scalar: `spec.values.image.tag`, `args[0]`, `data["values.yaml"].tag`, `containers[name=model].image`.

A backslash takes the meaning from a dot, as with `helm --set`. Where a path goes on inside a text, that is YAML.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import yaml

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.fields import nearest
from modelpack.target import Target
from modelpack.yamledit.embedded import embedded
from modelpack.yamledit.slot import Slot, Slots, check_image, slot
from modelpack.yamledit.stream import Stream
from modelpack.yamledit.tree import Tree, scalar
from modelpack.yamledit.workload import find_object

_KEY = re.compile(r"(?:\\.|[^.\[\]\\])+")
_BRACKET = re.compile(r"""\[(?:(\d{1,9})|"([^"]*)"|'([^']*)'|([^\[\]="']+)=([^\[\]]*))\]""")


_PARTS = "name what is below it, each part apart: values: {repository: a.b.repository, tag: a.b.tag}"
_YAML = re.compile(r"[:{\[\n]")  # in a text that has keys or items of its own


class Item(NamedTuple):
    """The item of a list whose `field` has a value."""

    field: str
    value: str

    def __str__(self) -> str:
        return f"[{self.field}={self.value}]"


Step = str | int | Item  # a key, the number of an item, or an item by a field


def parse_path(text: str) -> tuple[Step, ...]:
    """A path's steps. Raises InputError with the place in the path that cannot be read."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if text[at] == "[":
            match = _BRACKET.match(text, at)
        else:
            at += text[at] == "."
            match = _KEY.match(text, at)
        if not match:
            remedy = 'write keys with dots between: a.b, a[0].b, a["key.with.dots"], a[name=model].b'
            raise InputError(text, f"is no path, at {text[at:] or 'its end'!r}", remedy)
        if text[match.start()] != "[":
            steps.append(re.sub(r"\\(.)", r"\1", match[0]))
        elif match[1]:
            steps.append(int(match[1]))
        elif match[4]:
            steps.append(Item(match[4].strip(), match[5].strip().strip("\"'")))
        else:
            steps.append(match[2] or match[3] or "")
        at = match.end()
    if not steps:
        raise InputError(text or '""', "is no path", "write keys with dots between, like spec.image")
    return tuple(steps)


class Short(NamedTuple):
    """How far a path went, and what stopped it."""

    steps: int
    error: ModelpackError


End = tuple[Tree, yaml.ScalarNode] | Short
"""Where a path ends: at a scalar, or short of one."""


def walk(tree: Tree, node: yaml.Node, steps: tuple[Step, ...]) -> End:
    """The scalar at the end of a path from a node, and its tree.

    Raises RefusedError where the path is ambiguous: keys given twice, aliases, two items of a name.
    """
    for number, step in enumerate(steps):
        tree.check_unshared(node)
        if isinstance(node, yaml.ScalarNode) and _YAML.search(node.value):
            tree = embedded(tree, node)
            if len(tree.documents) != 1:
                return Short(number, InputError(tree.name, "the text here is not one YAML document"))
            node = tree.documents[0]
        found = _step(tree, node, step)
        if isinstance(found, ModelpackError):
            return Short(number, found)
        node = found
    if not isinstance(node, yaml.ScalarNode):
        tree.check_literal(node)
        known = ", ".join(scalar(key) for key, _ in node.value) if isinstance(node, yaml.MappingNode) else "a list"
        problem = f"{written(steps)} is not one text, it holds {known[:200]}"
        return Short(len(steps), InputError(tree.where(node), problem, _PARTS))
    return tree, node


def _step(tree: Tree, node: yaml.Node, step: Step) -> yaml.Node | ModelpackError:
    if isinstance(step, str):
        pair = tree.child(node, step) if isinstance(node, yaml.MappingNode) else None
        if pair:
            return pair[1]
        known = [scalar(key) for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        near = nearest(step, known)
        remedy = f"did you mean {near!r}?" if near else f"found here: {', '.join(known[:20]) or 'no keys'}"
        return NotFoundError(tree.where(node), f"has no {step!r}", remedy)
    if not isinstance(node, yaml.SequenceNode):
        return NotFoundError(tree.where(node), f"is no list, to have {written((step,))}")
    if isinstance(step, int):
        if step < len(node.value):
            return node.value[step]  # type: ignore[no-any-return]
        return NotFoundError(tree.where(node), f"has {len(node.value)} items, no [{step}]", "the first one is [0]")
    names = [scalar(tree.peek(each, step.field)) for each in node.value]
    found = [each for each, name in zip(node.value, names, strict=True) if name == step.value]
    if len(found) > 1:
        raise RefusedError(tree.where(found[1]), f"there is a second item {step}")
    if found:
        return found[0]  # type: ignore[no-any-return]
    return NotFoundError(tree.where(node), f"has no item {step}", f"found: {', '.join(names) or 'none'}")


def written(steps: tuple[Step, ...]) -> str:
    text = "".join(
        str(each) if isinstance(each, Item) else f"[{each}]" if isinstance(each, int) else f".{each}" for each in steps
    )
    return text.removeprefix(".")


def one(stream: Stream, part: str, text: str, ends: list[End]) -> Slot:
    """The slot at the one end that a path has, from several starts.

    Raises NotFoundError from where it got furthest, RefusedError where it has two ends.
    """
    found = [each for each in ends if not isinstance(each, Short)]
    if len(found) > 1:
        (first, node), (second, other) = found[:2]
        problem = f"{text} is here a second time, the first is on line {first.line_of(node)}"
        raise RefusedError(second.where(other), problem, "remove one, or name the object")
    if found:
        return check_image(slot(found[0][0], part, found[0][1]))
    furthest = max((each for each in ends if isinstance(each, Short)), key=lambda each: each.steps, default=None)
    if furthest is None:
        raise NotFoundError(f"{stream.name}:1", f"there is no {text}")
    error = furthest.error
    problem = error.problem if isinstance(error, InputError) else f"there is no {text}: {error.problem}"
    raise type(error)(error.subject, problem, error.remedy)


def documents(stream: Stream, steps: tuple[Step, ...]) -> list[tuple[Tree, yaml.Node]]:
    """The documents of a file that can have a path."""
    first = next((each for each in steps if isinstance(each, str)), "")
    found = [(tree, node) for tree in stream.about(first) for node in tree.documents]
    return found or [(tree, node) for tree in stream.trees for node in tree.documents][:1]


def place(stream: Stream, target: Target) -> Slots:
    """The scalar that `path` names: below its object, or in the one document that has it."""
    steps = parse_path(target.path)
    roots = [find_object(stream, target)] if target.kind else documents(stream, steps)
    return Slots((one(stream, target.part, target.path, [walk(tree, node, steps) for tree, node in roots]),))
