"""The third edit: one more item at the end of a list that fills a file."""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

from modelpack.errors import InputError
from modelpack.yamledit.tree import MAP, SEQ, STR, Tree


def append(data: bytes, name: str, item: Mapping[str, str]) -> bytes:
    """The file, a list or empty, with a mapping of texts appended; what is there stays byte for byte.

    Raises InputError for a file that is no list, RefusedError where the item cannot be added alone.
    """
    tree = Tree.parse(data, name)
    if not tree.documents:
        tree.documents.append(yaml.SequenceNode(SEQ, [], flow_style=False))
    items = tree.documents[0]
    if len(tree.documents) != 1 or not isinstance(items, yaml.SequenceNode):
        raise InputError(tree.where(items), "is not a list")
    pairs = [(yaml.ScalarNode(STR, key), yaml.ScalarNode(STR, value)) for key, value in item.items()]
    words = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in item.items()]
    if items.flow_style:
        at = items.end_mark.index - 1
        new = (", " if items.value else "") + "{" + ", ".join(words) + "}"
    else:
        at = len(tree.text)
        end = "\r\n" if "\r\n" in tree.text else "\n"
        indent = " " * (items.start_mark.column if items.value else 0)
        new = f"{indent}- " + f"{end}{indent}  ".join(words) + end
        if tree.text and not tree.text.endswith("\n"):
            new = end + new
    items.value.append(yaml.MappingNode(MAP, pairs))
    return tree.splice(at, at, new)
