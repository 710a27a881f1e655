"""Splices that set, insert or remove: each changes the nodes to what the text will mean, and says where to write."""

from __future__ import annotations

import json
import re

import yaml

from modelpack.errors import RefusedError
from modelpack.yamledit.tree import MAP, NULL, SEQ, STR, Splice, Tree, last_end

# what stands for itself in every style of YAML, whatever surrounds it
PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/:@-]*[A-Za-z0-9])?")
_SAFE = re.compile(PLAIN.pattern.replace("@", "@+"))
# what is or may be no text to one of the parsers in use, of YAML 1.1 or 1.2: a number, a date, a time, a word
_NUMBER = re.compile(r"[-+.]?[0-9][0-9a-fA-FxXoO_:+-]*\.?[0-9a-fA-F_:+-]*")
_WORD = re.compile(r"(?i:y|n|yes|no|on|off|true|false|null|nan|inf|infinity)")


def span(tree: Tree, node: yaml.ScalarNode) -> tuple[int, int]:
    """Where a scalar is written, with its quotes. Raises RefusedError for a folded one."""
    start, end = tree.content(node), node.end_mark.index
    if node.style not in ("|", ">"):
        return start, end
    body = tree.text.find("\n", start, end) + 1  # after the | or > and what follows it
    words = node.value.strip()
    if not words or tree.text.count(words, body, end) != 1:
        raise RefusedError(tree.where(node), "is folded over several lines", "write it on one line")
    at = tree.text.index(words, body, end)
    return at, at + len(words)


def set_text(tree: Tree, node: yaml.ScalarNode, text: str) -> Splice:
    """Give a scalar a text in its own quotes; a plain one gets quotes if it would be a number or the like without."""
    start, end = span(tree, node)
    if node.style in ("|", ">"):
        node.value, new = node.value.replace(node.value.strip(), text), text
    else:
        new = _written(text, node.style)
        if start == end and tree.text[start - 1 : start] not in (" ", "\n"):
            new = f" {new}"  # nothing stood there
        node.value, node.style = text, node.style or ("" if new == text else '"')
    node.tag = STR
    return Splice(start, end, new)


def _written(text: str, style: str | None) -> str:
    if style == "'":
        return "'" + text.replace("'", "''") + "'"
    if style == '"' or not _SAFE.fullmatch(text) or _NUMBER.fullmatch(text) or _WORD.fullmatch(text):
        return json.dumps(text, ensure_ascii=False)
    return text


def insert_first(tree: Tree, key: yaml.Node, mapping: yaml.MappingNode, keys: list[str], text: str) -> Splice:
    """Add nested keys as the first entry of a mapping, which is the value of `key`."""
    if mapping.flow_style:
        at = tree.content(mapping) + 1
        if mapping.value:
            at += len(tree.text[at:]) - len(tree.text[at:].lstrip(" "))  # as in { a: b }
        new = _flow(tree, keys, text)[1:-1] + (", " if mapping.value else "")
    else:
        # on the line after the key: a comment above the first entry stays with that entry
        at = tree.text.find("\n", key.end_mark.index) + 1
        end = "\r\n" if tree.text[at - 2 : at] == "\r\n" else "\n"
        first = mapping.value[0][0].start_mark
        line = tree.text[first.index - first.column : first.index]
        indent = len(line) - len(line.lstrip(" "))  # a key after "? " starts further right
        new = _block(keys, text, indent, end)
    mapping.value.insert(0, (yaml.ScalarNode(STR, keys[0]), nest(keys[1:], text)))
    return Splice(at, at, new)


def fill(tree: Tree, holder: yaml.MappingNode, key: yaml.Node, null: yaml.Node, keys: list[str], text: str) -> Splice:
    """Write nested keys where null or nothing stands."""
    start, end = null.start_mark.index, null.end_mark.index  # a tag !!null goes with it
    node = nest(keys, text)
    holder.value = [(name, node if name is key else each) for name, each in holder.value]
    return Splice(start, end, (" " if start == end else "") + _flow(tree, keys, text))


def _block(keys: list[str], text: str, indent: int, end: str) -> str:
    words = [f"{each}:" for each in keys]
    words[-1] += f" {json.dumps(text)}"
    return "".join(f"{' ' * (indent + 2 * depth)}{word}{end}" for depth, word in enumerate(words))


def _flow(tree: Tree, keys: list[str], text: str) -> str:
    """Nested keys in flow style, as in {annotations: {key: "value"}}."""
    if not keys:
        return json.dumps(text)
    key = json.dumps(keys[0]) if tree.json else keys[0]
    return f"{{{key}: {_flow(tree, keys[1:], text)}}}"


def nest(keys: list[str], text: str) -> yaml.Node:
    """The nodes of a text below some keys."""
    if not keys:
        return yaml.ScalarNode(STR, text)
    return yaml.MappingNode(MAP, [(yaml.ScalarNode(STR, keys[0]), nest(keys[1:], text))])


def pairs(entries: list[tuple[str, str]]) -> list[tuple[yaml.Node, yaml.Node]]:
    return [(yaml.ScalarNode(STR, key), yaml.ScalarNode(STR, text)) for key, text in entries]


def insert_after(
    tree: Tree, mapping: yaml.MappingNode, before: tuple[yaml.Node, yaml.Node], entries: list[tuple[str, str]]
) -> Splice:
    """Add entries behind another one whose value is a scalar; texts are in quotes where they need them."""
    at = mapping.value.index(before) + 1
    mapping.value[at:at] = pairs(entries)
    key, value = before
    if mapping.flow_style:
        quote = '"' if getattr(key, "style", None) == '"' else None
        new = "".join(f", {_written(each, quote)}: {_written(text, quote)}" for each, text in entries)
        return Splice(value.end_mark.index, value.end_mark.index, new)
    lines = "".join(f"{' ' * key.start_mark.column}{each}: {_written(text, None)}\n" for each, text in entries)
    return _lines(tree, value.end_mark.index, lines)


def append_item(tree: Tree, items: yaml.SequenceNode, entries: list[tuple[str, str]]) -> Splice:
    """Add a mapping of texts behind the last item of a list that has one, or into an empty one in brackets."""
    items.value.append(yaml.MappingNode(MAP, pairs(entries)))
    if items.flow_style:
        at = last_end(items.value[-2]) if len(items.value) > 1 else items.end_mark.index - 1
        return Splice(at, at, (", " if len(items.value) > 1 else "") + _braces(tree, entries))
    return _lines(tree, last_end(items.value[-2]), _item(entries, items.start_mark.column))


def append_list(tree: Tree, mapping: yaml.MappingNode, key: str, entries: list[tuple[str, str]]) -> Splice:
    """Add a list of one mapping of texts as the last entry of a mapping; or where `key` has nothing yet."""
    node = yaml.SequenceNode(SEQ, [yaml.MappingNode(MAP, pairs(entries))])
    deeper = _deeper(mapping)
    for at, (name, value) in enumerate(mapping.value):
        if name.value == key and value.tag == NULL:
            mapping.value[at] = (name, node)
            start, end = value.start_mark.index, value.end_mark.index
            if mapping.flow_style or "\n" in tree.text[name.end_mark.index : start]:
                return Splice(start, end, f"{' ' if start == end else ''}[{_braces(tree, entries)}]")
            below = _lines(tree, end, _item(entries, name.start_mark.column + deeper))
            # a null goes with the space before it, a comment behind it stays
            return Splice(len(tree.text[:start].rstrip(" ")), below.end, tree.text[end : below.start] + below.new)
    text = f"[{_braces(tree, entries)}]"
    if mapping.flow_style:
        new = f"{json.dumps(key) if tree.json else key}: {text}"
        at = last_end(mapping.value[-1][1]) if mapping.value else mapping.end_mark.index - 1
        mapping.value.append((yaml.ScalarNode(STR, key), node))
        return Splice(at, at, f", {new}" if len(mapping.value) > 1 else new)
    column = mapping.value[0][0].start_mark.column
    lines = f"{' ' * column}{key}:\n{_item(entries, column + deeper)}"
    at = last_end(mapping)
    mapping.value.append((yaml.ScalarNode(STR, key), node))
    return _lines(tree, at, lines)


def _deeper(mapping: yaml.MappingNode) -> int:
    """How much further right than their keys the other lists of a mapping stand."""
    for key, value in mapping.value:
        if isinstance(value, yaml.SequenceNode) and not value.flow_style:
            return int(value.start_mark.column - key.start_mark.column)
    return 0


def _item(entries: list[tuple[str, str]], column: int) -> str:
    lines = [f"{each}: {_written(text, None)}\n" for each, text in entries]
    return f"{' ' * column}- " + f"{' ' * column}  ".join(lines)


def _braces(tree: Tree, entries: list[tuple[str, str]]) -> str:
    quote = '"' if tree.json else None
    return "{" + ", ".join(f"{_written(each, quote)}: {_written(text, quote)}" for each, text in entries) + "}"


def _lines(tree: Tree, end: int, lines: str) -> Splice:
    """Whole lines behind the line on which something ends; a block scalar ends at the start of the next line."""
    lines = lines.replace("\n", tree.end)
    at = tree.text.find("\n", max(end - 1, 0)) + 1
    if not at:
        at, lines = len(tree.text), tree.end + lines.removesuffix(tree.end)
    return Splice(at, at, lines)


def remove(tree: Tree, mapping: yaml.MappingNode, pair: tuple[yaml.Node, yaml.Node]) -> Splice:
    """Take an entry out of a mapping, with its line or lines."""
    key, value = pair
    at = mapping.value.index(pair)
    start, end = key.start_mark.index, last_end(value)
    line = tree.text[start - key.start_mark.column : start]
    if mapping.flow_style:
        if at + 1 < len(mapping.value):
            end = tree.text.index(",", end) + 1  # not to the next key: a "? " may stand before that
            end += len(tree.text[end:]) - len(tree.text[end:].lstrip(" "))
        elif at:
            start = last_end(mapping.value[at - 1][1])
    elif line.strip(" ") and at + 1 < len(mapping.value):  # behind the dash of an item, which stays
        end = mapping.value[at + 1][0].start_mark.index
    else:
        start -= len(line)
        end = tree.text.find("\n", end - 1) + 1 or len(tree.text)
    del mapping.value[at]
    return Splice(start, end, "")
