"""Edits of a list that fills a file: one more item at its end, or one fewer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import yaml

from modelpack.errors import InputError, NotFoundError
from modelpack.yamledit.stream import Stream
from modelpack.yamledit.tree import MAP, SEQ, STR, Splice, Tree, last_end


def append(data: bytes, name: str, item: Mapping[str, str]) -> bytes:
    """The file, a list or empty, with a mapping of texts appended; what is there stays byte for byte.

    Raises InputError for a file that is no list, RefusedError where the item cannot be added alone.
    """
    stream = Stream.parse(data, name)
    tree, items = _items(stream)
    pairs = [(yaml.ScalarNode(STR, key), yaml.ScalarNode(STR, value)) for key, value in item.items()]
    words = [
        f"{json.dumps(key) if tree.json else key}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in item.items()
    ]
    if items.flow_style:
        at = items.end_mark.index - 1
        new = (", " if items.value else "") + "{" + ", ".join(words) + "}"
    else:
        at = len(tree.text)
        end = tree.end
        indent = " " * (items.start_mark.column if items.value else 0)
        new = f"{indent}- " + f"{end}{indent}  ".join(words) + end
        if tree.text and not tree.text.endswith("\n"):
            new = end + new
    items.value.append(yaml.MappingNode(MAP, pairs))
    return stream.write([(tree, Splice(at, at, new))])


def drop(data: bytes, name: str, index: int) -> bytes:
    """The file without one item of its list; comments around the item stay.

    Raises InputError for a file that is no list, NotFoundError if it is shorter, RefusedError where the item cannot go
    alone.
    """
    stream = Stream.parse(data, name)
    tree, items = _items(stream)
    if not 0 <= index < len(items.value):
        raise NotFoundError(name, f"has no item {index}, only {len(items.value)}")
    node = items.value[index]
    before = last_end(items.value[index - 1]) if index else items.start_mark.index
    end = last_end(node)
    if items.flow_style:
        start = node.start_mark.index
        if index + 1 < len(items.value):
            end = tree.text.index(",", end) + 1
            end += len(tree.text[end:]) - len(tree.text[end:].lstrip(" "))
        elif index:
            start = before
    else:
        line = tree.text.rfind("\n", 0, before) + 1 if not index else before
        dash = re.compile(rf"^ {{{items.start_mark.column}}}-(?=\s)", re.MULTILINE).search(tree.text, line)
        start = dash.start() if dash else node.start_mark.index
        end = tree.text.find("\n", end - 1) + 1 or len(tree.text)
    del items.value[index]
    if not items.value and not items.flow_style:
        tree.documents.clear()
    return stream.write([(tree, Splice(start, end, ""))])


def _items(stream: Stream) -> tuple[Tree, yaml.SequenceNode]:
    """The list that fills a file; an empty one, new, where the file has nothing."""
    found = [(tree, node) for tree in stream.trees for node in tree.documents]
    if not found:
        tree = stream.trees[-1]
        tree.documents.append(yaml.SequenceNode(SEQ, [], None, None, flow_style=False))
        found = [(tree, tree.documents[0])]
    tree, items = found[0]
    if len(found) != 1 or not isinstance(items, yaml.SequenceNode):
        raise InputError(tree.where(items), "is not a list")
    return tree, items
