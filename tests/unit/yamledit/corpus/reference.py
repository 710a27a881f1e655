"""What an edit did, by ruamel.yaml's own parser in Python: it has nothing of what the code under test is made of."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode, SequenceNode

from tests.unit.yamledit.corpus import Case


class _Constructor(SafeConstructor):
    """Keeps what has a tag of its own as text."""


def _foreign(constructor: Any, suffix: str, node: Any) -> Any:
    kind = type(node)
    value = {ScalarNode: lambda: node.value, SequenceNode: lambda: constructor.construct_sequence(node, deep=True)}
    return suffix, value.get(kind, lambda: constructor.construct_mapping(node, deep=True))()


_Constructor.add_multi_constructor("!", _foreign)


def load(data: bytes) -> list[Any]:
    """Every document's values. Raises ValueError for what is no YAML."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return list(yaml.load_all(data.decode("utf-8-sig")))
    except YAMLError as error:
        raise ValueError(str(error)) from error


def expected(case: Case) -> list[Any]:
    """What the file has to mean after the edit: exactly the target's values are others."""
    documents = _apart(load(case.data))
    for place in case.places:
        holder = documents[place.document]
        for key in place.path[:-1]:
            holder = holder[key]
        end = "\n" if str(holder[place.path[-1]]).endswith("\n") else ""  # a block scalar's own
        holder[place.path[-1]] = place.new.rstrip("\n") + end
    if case.adds is not None:
        body = next(each for each in documents if each is not None)
        body["images"] = body.get("images") or []
        entry = next((each for each in body["images"] if each["name"] == case.adds["name"]), None)
        if entry is None:
            body["images"].append(entry := {})
        entry.update(case.adds)
    return documents


def verdict(case: Case, after: bytes) -> str:
    """ "" if the file means what it has to, else what is wrong."""
    try:
        found = load(after)
    except ValueError as error:
        return f"is no YAML any more: {error}"
    return difference(_bare(case, found), _bare(case, expected(case)))


def _bare(case: Case, documents: list[Any]) -> list[Any]:
    """Without what has no meaning: empty documents, the order of `images`, a new name like the old, a last newline."""
    targets = {place.new.rstrip("\n") for place in case.places}

    def bare(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: bare(value) for key, value in node.items()}
        if isinstance(node, list):
            return [bare(each) for each in node]
        return node.rstrip("\n") if isinstance(node, str) and node.rstrip("\n") in targets else node

    found = [bare(each) for each in documents if each is not None]
    for each in found:
        if case.target.images and isinstance(each, dict) and isinstance(each.get("images"), list):
            each["images"] = [_named(image) for image in each["images"]]
            each["images"].sort(key=lambda image: str(image.get("name")))
    return found


def _named(image: Any) -> Any:
    """Without a new name that is the old one."""
    if isinstance(image, dict) and image.get("newName") == image.get("name"):
        return {key: value for key, value in image.items() if key != "newName"}
    return image


def difference(found: Any, wanted: Any, where: str = "") -> str:
    """Where two values differ first, "" if they are equal: in type too (True is no 1), but for the order of keys."""
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        pairs = [(f"{where}.{key}", value, wanted[key]) for key, value in found.items()]
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = [(f"{where}[{at}]", *pair) for at, pair in enumerate(zip(found, wanted, strict=True))]
    else:
        same = (type(found).__name__, repr(found)) == (type(wanted).__name__, repr(wanted))
        return "" if same else f"{where}: {str(found)[:120]!r} is not {str(wanted)[:120]!r}"
    return next((problem for each in pairs if (problem := difference(each[1], each[2], each[0]))), "")


def _apart(node: Any) -> Any:
    """A copy in which nothing is shared through aliases."""
    if isinstance(node, dict):
        return {key: _apart(value) for key, value in node.items()}
    return [_apart(each) for each in node] if isinstance(node, list) else node
