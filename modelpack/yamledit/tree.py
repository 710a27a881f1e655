"""A part of a YAML stream as its text and its nodes: looking things up, and proving what a splice has changed.

PyYAML's marks count characters of the decoded text, not bytes.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import yaml

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.fields import compose, nearest, nodes, uncollected

STR = "tag:yaml.org,2002:str"
MAP = "tag:yaml.org,2002:map"
SEQ = "tag:yaml.org,2002:seq"
NULL = "tag:yaml.org,2002:null"
MERGE = "<<"
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")  # an anchor and a tag stand before a value and belong to its marks


class Splice(NamedTuple):
    """`text[start:end]` becomes `new`."""

    start: int
    end: int
    new: str


class Outside(Protocol):
    """What a tree stands in, when it is the text of a scalar."""

    @property
    def tree(self) -> Tree: ...

    @property
    def node(self) -> yaml.ScalarNode: ...

    def place(self, index: int) -> int:
        """Where a place of the inner text is in the outer one."""

    def splice(self, inner: Splice) -> Splice:
        """A splice of the inner text as one of the outer text."""


@dataclass(frozen=True)
class Tree:
    """Whole documents of a file, `offset` characters and `before` lines from its start; or the text of a scalar.

    `name` is the file's, for messages. An edit first changes `documents` to what the file has to mean, and then shows
    by `prove` that its splices do that.
    """

    name: str
    text: str
    offset: int = 0
    before: int = 0
    outside: Outside | None = None

    @cached_property
    def documents(self) -> list[yaml.Node]:
        """The documents that are not empty. The text has passed `fields.check`."""
        return nodes(self.text, self.name, self.before)

    def line(self, index: int) -> int:
        """The file's line of a place in the text, from 1."""
        if self.outside:
            return self.outside.tree.line(self.outside.place(index))
        return self.before + self.text.count("\n", 0, index) + 1

    def line_of(self, node: yaml.Node) -> int:
        return self.line(node.start_mark.index)

    def where(self, node: yaml.Node) -> str:
        """`file:line` of a node."""
        return f"{self.name}:{self.line_of(node)}"

    @property
    def depth(self) -> int:
        """How many texts this is in."""
        return self.outside.tree.depth + 1 if self.outside else 0

    def position(self, index: int) -> int:
        """A place of the text as a place of the file, in characters."""
        return self.outside.tree.position(self.outside.place(index)) if self.outside else self.offset + index

    def peek(self, node: yaml.Node | None, *keys: str) -> yaml.Node | None:
        """The value below some keys, as far as it is written out; None if it is not there."""
        for key in keys:
            if not isinstance(node, yaml.MappingNode):
                return None
            node = next((value for name, value in node.value if name.value == key), None)
        return node

    def child(self, mapping: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
        """A key of a mapping and its value. Raises RefusedError where that is ambiguous: twice, or by a merge key."""
        found: list[tuple[yaml.Node, yaml.Node]] = [pair for pair in mapping.value if pair[0].value == key]
        if len(found) > 1:
            raise RefusedError(self.where(found[1][0]), f"key {key!r} is given twice", "remove one of them")
        if found:
            return found[0]
        for name, _ in mapping.value:
            if name.value == MERGE:
                raise RefusedError(
                    self.where(name), f"{key!r} may come in through a merge key (<<)", "write it out here"
                )
        return None

    def need(self, mapping: yaml.Node, key: str, kind: type[yaml.Node], what: str) -> yaml.Node:
        """The value of a key that has to be there. Raises NotFoundError that says what is there instead."""
        pair = self.child(mapping, key) if isinstance(mapping, yaml.MappingNode) else None
        if pair is None or pair[1].tag == NULL:
            self.check_literal(mapping)
            known = [str(name.value) for name, _ in mapping.value] if isinstance(mapping, yaml.MappingNode) else []
            near = nearest(key, known)
            remedy = f"did you mean {near!r}?" if near else f"found here: {', '.join(known) or 'nothing'}"
            raise NotFoundError(self.where(pair[0] if pair else mapping), f"{what} has no {key}", remedy)
        if not isinstance(pair[1], kind):
            self.check_literal(pair[1])
            raise InputError(self.where(pair[1]), f"{what}: {key} is not what it should be, {_KINDS[kind]}")
        return pair[1]

    def objects(self) -> Iterator[yaml.MappingNode]:
        """The Kubernetes objects of all documents, those inside a `kind: List` too."""
        for document in self.documents:
            items = self.peek(document, "items")
            if isinstance(items, yaml.SequenceNode) and scalar(self.peek(document, "kind")).endswith("List"):
                yield from (item for item in items.value if isinstance(item, yaml.MappingNode))
            elif isinstance(document, yaml.MappingNode):
                yield document

    @cached_property
    def _uses(self) -> Counter[int]:
        """How often each node is used: more than once where an alias repeats it."""
        uses: Counter[int] = Counter()
        if not _anchored(self.text):
            return uses
        stack = list(self.documents)
        while stack:
            node = stack.pop()
            uses[id(node)] += 1
            if uses[id(node)] == 1:
                stack.extend(_children(node))
        return uses

    def check_unshared(self, *nodes: yaml.Node) -> None:
        """Raise RefusedError if an alias uses one of the nodes somewhere else too."""
        for node in nodes:
            if self._uses[id(node)] > 1:
                raise RefusedError(
                    self.where(node),
                    "is shared through an anchor, and would change in every place",
                    "write it out in each",
                )

    def check_literal(self, node: yaml.Node) -> None:
        """Raise RefusedError where a template stands, which happens to be YAML as well: as value, key, item or name."""
        near = [node]
        if isinstance(node, yaml.MappingNode):
            near += [key for key, _ in node.value]
        elif isinstance(node, yaml.SequenceNode):
            near += [self.peek(each, "name") or each for each in node.value]
        for each in near:
            if "{{" in scalar(each) or self.text.startswith("{{", self.content(each)):
                raise RefusedError(self.where(each), "is a template ({{ }})", "name the file that fills it in")

    def content(self, node: yaml.Node) -> int:
        """Where a node starts in the text, its anchor and tag left out."""
        match = _PROPERTIES.match(self.text, node.start_mark.index)
        return min(match.end(), node.end_mark.index) if match else node.start_mark.index

    @cached_property
    def end(self) -> str:
        """How lines end here."""
        return "\r\n" if "\r\n" in self.text else "\n"

    @cached_property
    def json(self) -> bool:
        """Whether the text is JSON and has to stay so."""
        return self.text.lstrip()[:1] in ("{", "[") and '"' in self.text and _is_json(self.text)

    def prove(self, splices: Iterable[Splice]) -> str:
        """The text with the splices made.

        `documents` must have been changed to what the new text has to mean: it is parsed and compared, and RefusedError
        is raised if it means anything else.
        """
        with uncollected():
            return self._prove(sorted(splices))

    def _prove(self, splices: list[Splice]) -> str:
        where = f"{self.name}:{self.line(splices[0].start)}" if splices else self.name
        refused = RefusedError(where, "cannot be edited without changing something else", "edit it by hand")
        if any(after.start < before.end for before, after in itertools.pairwise(splices)):
            raise refused
        text = spliced(self.text, splices)
        try:
            after = compose(text, self.name)
        except ModelpackError as error:
            raise refused from error
        # the next document starts on a line of its own
        whole = text.endswith("\n") or not self.text.endswith("\n") or not text
        if (
            not whole
            or not same(self.documents, after, _anchored(self.text) or _anchored(text))
            or (self.json and not _is_json(text))
        ):
            raise refused
        return text


_KINDS: dict[type[yaml.Node], str] = {
    yaml.MappingNode: "a mapping",
    yaml.SequenceNode: "a list",
    yaml.ScalarNode: "a text",
}


def scalar(node: yaml.Node | None) -> str:
    """A scalar's text, "" for anything else."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def last_end(node: yaml.Node) -> int:
    """Where the last scalar or bracket of a node ends: a block's own mark is behind the comments after it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """A text with splices made, which do not overlap."""
    done, at = [], 0
    for start, end, new in sorted(splices):
        done += [text[at:start], new]
        at = end
    return "".join([*done, text[at:]])


def _anchored(text: str) -> bool:
    """Whether there can be aliases."""
    return "&" in text and "*" in text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def same(before: Sequence[yaml.Node], after: Sequence[yaml.Node], shared: bool = True) -> bool:
    """Whether two streams mean the same: equal types, tags, values and order, and the same nodes shared by aliases.

    Where neither has an alias (`shared` is False), no node can be met twice.
    """
    if len(before) != len(after):
        return False
    twin: dict[int, int] = {}
    origin: dict[int, int] = {}
    stack = list(zip(before, after, strict=True))
    while stack:
        left, right = stack.pop()
        if shared:
            if id(left) in twin or id(right) in origin:
                if twin.get(id(left)) != id(right) or origin.get(id(right)) != id(left):
                    return False
                continue
            twin[id(left)], origin[id(right)] = id(right), id(left)
        if type(left) is not type(right) or left.tag != right.tag:
            return False
        if isinstance(left, yaml.ScalarNode):
            if left.value != right.value:
                return False
            continue
        below = _children(left), _children(right)
        if len(below[0]) != len(below[1]):
            return False
        stack.extend(zip(*below, strict=True))
    return True
