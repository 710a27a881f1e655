"""YAML inside a scalar of YAML, as in a kustomization's patches: every place inside is a place of the file.

What has no such places, as a folded scalar, is refused. An edit is proven twice: of the text inside, and of the file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import yaml

from modelpack.errors import InputError, RefusedError
from modelpack.fields import check
from modelpack.yamledit.tree import Splice, Tree

_TOKENS = {
    "'": re.compile(r"''|[^'\r\n]"),
    '"': re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^xuU\r\n])|[^\\\r\n]"),
    None: re.compile(r"[^\r\n]"),
}


@dataclass(frozen=True)
class Inside:
    """The text of a scalar of `tree`: its characters stand at `places`, the last of which is behind them."""

    tree: Tree
    node: yaml.ScalarNode
    places: tuple[int, ...]
    indent: str = ""

    def place(self, index: int) -> int:
        return self.places[index]

    def splice(self, inner: Splice) -> Splice:
        start, end, new = self.places[inner.start], self.places[inner.end], inner.new
        if self.node.style == "|":
            new = new.replace("\n", self.tree.end + self.indent)
            if end == self.places[-1] and self.tree.text[end - 1 : end] == "\n":
                # behind the last line no indent stands yet: it has to come along, and goes with a line that goes
                new = (self.indent + new if start == end else new).removesuffix(self.indent)
                start -= len(self.indent) if start != end and not new else 0
        elif self.node.style == '"':
            new = json.dumps(new, ensure_ascii=False)[1:-1]
        elif self.node.style == "'":
            new = new.replace("'", "''")
        return Splice(start, end, new)


def embedded(tree: Tree, node: yaml.ScalarNode) -> Tree:
    """The YAML in a scalar. Raises RefusedError where its characters have no place of their own in the file.

    And InputError where the text is no YAML.
    """
    tree.check_unshared(node)
    places, indent = _literal(tree, node) if node.style == "|" else (_line(tree, node), "")
    if not places:
        raise RefusedError(tree.where(node), "is folded over several lines", "write it as a block that starts with |")
    try:
        check(node.value, tree.name)
    except InputError as error:
        tree.check_literal(node)
        raise InputError(tree.where(node), f"the text here {error.problem}") from error
    return Tree(tree.name, node.value, outside=Inside(tree, node, tuple(places), indent))


def _line(tree: Tree, node: yaml.ScalarNode) -> list[int]:
    """The places of a scalar on one line."""
    if node.style not in _TOKENS:
        return []
    quotes = len(node.style or "")
    at, end = tree.content(node) + quotes, node.end_mark.index - quotes
    places = []
    while at < end:
        match = _TOKENS[node.style].match(tree.text, at, end)
        if not match:
            return []
        places.append(at)
        at = match.end()
    return [*places, end] if len(places) == len(node.value) else []


def _literal(tree: Tree, node: yaml.ScalarNode) -> tuple[list[int], str]:
    """The places of a literal block scalar, and what stands before each of its lines."""
    at = tree.text.find("\n", tree.content(node)) + 1
    lines = node.value.split("\n")
    ends = node.value.endswith("\n")
    indent = ""
    places: list[int] = []
    for number, line in enumerate(lines[:-1] if ends else lines):
        stop = tree.text.find("\n", at)
        stop = len(tree.text) if stop < 0 else stop
        after = min(stop + 1, len(tree.text))
        stop -= tree.text[stop - 1 : stop] == "\r" and stop > at
        raw = tree.text[at:stop]
        if line and not indent:
            indent = raw[: len(raw) - len(line)]
        if not (raw == indent + line or (not line and not raw.strip(" "))) or indent.strip(" "):
            return [], ""
        start = stop - len(line)
        places += [*range(start, stop), stop]  # the last is the line's end
        at = after
        if number == len(lines) - 1 or (ends and number == len(lines) - 2):
            break
    if ends:
        places.append(at)
    return (places if len(places) == len(node.value) + 1 else []), indent
