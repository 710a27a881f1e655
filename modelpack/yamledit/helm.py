"""Helm values: a values file, a HelmRelease's `spec.values`, and the three ways an Argo CD Application gives them."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.target import REGISTRY, REPOSITORY, Target
from modelpack.yamledit.path import End, Short, Step, documents, one, parse_path, walk
from modelpack.yamledit.slot import Slots
from modelpack.yamledit.stream import Stream
from modelpack.yamledit.tree import Tree, scalar
from modelpack.yamledit.workload import find_object


def place(stream: Stream, target: Target) -> Slots:
    """The scalars of `values`.

    Raises NotFoundError where one is missing, and does not add it: the chart alone can say which parts it knows.
    """
    slots = []
    for part, text in target.values:
        steps = parse_path(text)
        slots.append(one(stream, part, text, _ends(stream, target, steps)))
        if part == REPOSITORY and REGISTRY not in dict(target.values):
            _check_whole(stream, target, steps)
    return Slots(tuple(slots))


def _ends(stream: Stream, target: Target, steps: tuple[Step, ...]) -> list[End]:
    return [
        _parameter(tree, node, steps) if named else walk(tree, node, steps)
        for tree, node, named in _roots(stream, target, steps)
    ]


def _check_whole(stream: Stream, target: Target, repository: tuple[Step, ...]) -> None:
    """Raise RefusedError if a registry stands beside the repository: a chart puts both together."""
    for end in _ends(stream, target, (*repository[:-1], "registry")):
        if not isinstance(end, Short) and end[1].value:
            problem = "the registry stands apart from the repository, which would hold it too"
            raise RefusedError(end[0].where(end[1]), problem, "name it as well: values: {registry: …, repository: …}")


def _roots(stream: Stream, target: Target, steps: tuple[Step, ...]) -> Iterator[tuple[Tree, yaml.Node, bool]]:
    """What holds values, and whether that is a list of parameters."""
    if not target.kind:
        yield from ((tree, node, False) for tree, node in documents(stream, steps))
        return
    tree, node = find_object(stream, target)
    what = f"{target.kind} {target.name}"
    spec = tree.need(node, "spec", yaml.MappingNode, what)
    tree.check_unshared(node, spec)
    if target.kind == "HelmRelease":
        yield tree, tree.need(spec, "values", yaml.MappingNode, what), False
        return
    found = False
    for source in _sources(tree, spec):
        pair = tree.child(source, "helm")
        if not pair or not isinstance(pair[1], yaml.MappingNode):
            continue
        tree.check_unshared(source, pair[1])
        for key in ("valuesObject", "values", "parameters"):
            held = tree.child(pair[1], key)
            if held:
                found = True
                yield tree, held[1], key == "parameters"
    if not found:
        raise NotFoundError(tree.where(spec), f"{what} has no Helm values", "name the values file of its source")


def _sources(tree: Tree, spec: yaml.Node) -> Iterator[yaml.MappingNode]:
    assert isinstance(spec, yaml.MappingNode)
    for key in ("source", "sources"):
        pair = tree.child(spec, key)
        if pair:
            tree.check_unshared(pair[1])
            several = pair[1].value if isinstance(pair[1], yaml.SequenceNode) else [pair[1]]
            yield from (each for each in several if isinstance(each, yaml.MappingNode))


def _parameter(tree: Tree, items: yaml.Node, steps: tuple[Step, ...]) -> End:
    """The value of the parameter whose name is a path."""
    tree.check_unshared(items)
    found = [each for each in items.value if isinstance(each, yaml.MappingNode) and _is(tree, each, steps)]
    if not found:
        return Short(0, NotFoundError(tree.where(items), "no parameter of that name"))
    if len(found) > 1:
        return Short(len(steps), InputError(tree.where(found[1]), "a second parameter of that name"))
    return walk(tree, found[0], ("value",))


def _is(tree: Tree, item: yaml.MappingNode, steps: tuple[Step, ...]) -> bool:
    name = scalar(tree.peek(item, "name"))
    try:
        return parse_path(name) == steps
    except InputError:
        return False
