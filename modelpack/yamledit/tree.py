"""A YAML stream as its text and its nodes: looking things up, and telling two streams apart.

PyYAML's marks count characters of the decoded text, not bytes; a byte order mark is taken off first, because libyaml
and the pure Python parser count it differently.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import yaml

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.fields import compose, nearest

STR = "tag:yaml.org,2002:str"
MAP = "tag:yaml.org,2002:map"
SEQ = "tag:yaml.org,2002:seq"
NULL = "tag:yaml.org,2002:null"
_MERGE = "<<"
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")  # an anchor and a tag stand before a value and belong to its marks


@dataclass(frozen=True)
class Tree:
    """A parsed YAML file. `name` is the file's, for messages."""

    name: str
    text: str
    mark: bytes
    documents: list[yaml.Node]

    @classmethod
    def parse(cls, data: bytes, name: str) -> Tree:
        """Raises InputError for what is no YAML in UTF-8, RefusedError for a template."""
        mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        try:
            text = data[len(mark) :].decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(f"{name}:{line}", "is not UTF-8 text") from error
        try:
            return cls(name, text, mark, compose(text, name))
        except InputError as error:
            if "{{" in text:
                raise RefusedError(
                    error.subject, "is a template, not YAML", "name the file that fills it in"
                ) from error
            raise

    def where(self, node: yaml.Node) -> str:
        """`file:line` of a node."""
        return f"{self.name}:{line_of(node)}"

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
            if name.value == _MERGE:
                raise RefusedError(
                    self.where(name), f"{key!r} may come in through a merge key (<<)", "write it out here"
                )
        return None

    def need(self, mapping: yaml.Node, key: str, kind: type[yaml.Node], what: str) -> yaml.Node:
        """The value of a key that has to be there. Raises NotFoundError that says what is there instead."""
        pair = self.child(mapping, key) if isinstance(mapping, yaml.MappingNode) else None
        if pair is None or pair[1].tag == NULL:
            known = [str(name.value) for name, _ in mapping.value] if isinstance(mapping, yaml.MappingNode) else []
            near = nearest(key, known)
            remedy = f"did you mean {near!r}?" if near else f"found here: {', '.join(known) or 'nothing'}"
            raise NotFoundError(self.where(pair[0] if pair else mapping), f"{what} has no {key}", remedy)
        if not isinstance(pair[1], kind):
            raise InputError(self.where(pair[1]), f"{what}: {key} is not what it should be, {_KINDS[kind]}")
        return pair[1]

    def objects(self) -> Iterator[yaml.MappingNode]:
        """The Kubernetes objects of all documents, those inside a `kind: List` too."""
        for document in self.documents:
            items = self.peek(document, "items")
            if isinstance(items, yaml.SequenceNode) and scalar(self.peek(document, "kind")) == "List":
                yield from (item for item in items.value if isinstance(item, yaml.MappingNode))
            elif isinstance(document, yaml.MappingNode):
                yield document

    @cached_property
    def _uses(self) -> Counter[int]:
        """How often each node is used: more than once where an alias repeats it."""
        uses: Counter[int] = Counter()
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

    def content(self, node: yaml.Node) -> int:
        """Where a node starts in the text, its anchor and tag left out."""
        match = _PROPERTIES.match(self.text, node.start_mark.index)
        return match.end() if match else node.start_mark.index

    def splice(self, start: int, end: int, new: str) -> bytes:
        """The file with `text[start:end]` replaced.

        `documents` must have been changed to what the new file has to mean: the new bytes are parsed again and
        compared, and RefusedError is raised if they mean anything else.
        """
        refused = RefusedError(self.name, "cannot be edited without changing something else", "edit it by hand")
        data = self.mark + f"{self.text[:start]}{new}{self.text[end:]}".encode()
        try:
            proof = Tree.parse(data, self.name)
        except ModelpackError as error:
            raise refused from error
        if not same(self.documents, proof.documents):
            raise refused
        return data


_KINDS: dict[type[yaml.Node], str] = {
    yaml.MappingNode: "a mapping",
    yaml.SequenceNode: "a list",
    yaml.ScalarNode: "a text",
}


def scalar(node: yaml.Node | None) -> str:
    """A scalar's text, "" for anything else."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def line_of(node: yaml.Node) -> int:
    """The line a node starts on, from 1."""
    return int(node.start_mark.line) + 1


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def same(before: list[yaml.Node], after: list[yaml.Node]) -> bool:
    """Whether two streams mean the same: equal types, tags, values and order, and the same nodes shared by aliases."""
    if len(before) != len(after):
        return False
    twin: dict[int, int] = {}
    origin: dict[int, int] = {}
    stack = list(zip(before, after, strict=True))
    while stack:
        left, right = stack.pop()
        if id(left) in twin or id(right) in origin:
            if twin.get(id(left)) != id(right) or origin.get(id(right)) != id(left):
                return False
            continue
        twin[id(left)], origin[id(right)] = id(right), id(left)
        if type(left) is not type(right) or left.tag != right.tag:
            return False
        if isinstance(left, yaml.ScalarNode) and left.value != right.value:
            return False
        below = _children(left), _children(right)
        if len(below[0]) != len(below[1]):
            return False
        stack.extend(zip(*below, strict=True))
    return True
