"""Reading YAML that people write: each value with its file and line, unknown keys refused with the nearest known one.

`read(data, name)` gives a `Fields`; each getter takes a key out of it; `done()` refuses whatever nobody took.
"""

from __future__ import annotations

import difflib
import gc
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import yaml

from modelpack.errors import InputError

T = TypeVar("T")
_MISSING: Any = object()

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?%")
_SECONDS = (86400.0, 3600.0, 60.0, 1.0)
_FLAGS = {"true": True, "false": False}
_DEEPEST = 100  # the C composer recurses, and without a bound it takes the process with it
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Fields:
    """A YAML mapping, and where it stands. Getters raise InputError that names `file:line` and the key.

    A getter without a default demands its key; null counts as missing.
    """

    def __init__(self, name: str, node: yaml.MappingNode, path: str = "") -> None:
        self.name = name
        self.path = path
        self.line = node.start_mark.line + 1 if node.start_mark else 1
        self._mark = node.start_mark
        self._values: dict[str, yaml.Node] = {}
        self._key_lines: dict[str, int] = {}
        self._taken: set[str] = set()
        for key, value in node.value:
            text = str(key.value)
            if text in self._values:
                raise InputError(f"{name}:{key.start_mark.line + 1}", f"key {path + text!r} is given twice")
            self._values[text] = value
            self._key_lines[text] = key.start_mark.line + 1

    def where(self, key: str = "") -> str:
        """`file:line` of a key, or of the mapping itself."""
        return f"{self.name}:{self._key_lines.get(key, self.line)}"

    def error(self, key: str, problem: str, remedy: str = "") -> InputError:
        """An error about one key, for the caller to raise."""
        return InputError(self.where(key), f"{self.path}{key}: {problem}", remedy)

    def __contains__(self, key: str) -> bool:
        node = self._values.get(key)
        return node is not None and node.tag != "tag:yaml.org,2002:null"

    def is_text(self, key: str) -> bool:
        """Whether a key is there with a scalar."""
        return key in self and isinstance(self._values[key], yaml.ScalarNode)

    def keys(self) -> tuple[str, ...]:
        return tuple(self._values)

    def _take(self, key: str, default: Any, kind: str, read: Callable[[yaml.Node], T | None]) -> T:
        self._taken.add(key)
        if key not in self:
            if default is _MISSING:
                typo = nearest(key, (each for each in self._values if each not in self._taken))
                if typo and typo != key:
                    raise self.error(typo, "is not a known key", f"did you mean {key!r}?")
                raise self.error(key, f"is missing, {kind} is needed")
            return default  # type: ignore[no-any-return]
        value = read(self._values[key])
        if value is None:
            raise self.error(key, f"is not {kind}")
        return value

    def text(self, key: str, default: str = _MISSING) -> str:
        return self._take(key, default, "a text", _text)

    def number(
        self, key: str, default: float = _MISSING, *, low: float | None = None, high: float | None = None
    ) -> float:
        share = _PERCENT.fullmatch(_text(self._values[key]) or "") if key in self else None
        if share:
            raise self.error(key, "is not a number", f"a share of {share[1]} % is written {float(share[1]) / 100:g}")
        value = self._take(key, default, "a number", _number)
        if (low is not None and value < low) or (high is not None and value > high):
            raise self.error(key, f"{value:g} is not between {_bound(low)} and {_bound(high)}")
        return value

    def integer(self, key: str, default: int = _MISSING, *, low: int | None = None, high: int | None = None) -> int:
        value = self.number(key, default, low=low, high=high)
        if value != int(value):
            raise self.error(key, f"{value:g} is not a whole number")
        return int(value)

    def duration(self, key: str, default: str = _MISSING) -> float:
        """Seconds of a duration like 90s, 10m, 1h30m or 7d; more than 0.0, which a default of "" stands for."""
        text = self.text(key, default)
        if not text and default == "":
            return 0.0
        found = _DURATION.fullmatch(text)
        parts = zip(found.groups(), _SECONDS, strict=True) if found else ()
        seconds = sum(float(part) * unit for part, unit in parts if part)
        if not 0 < seconds < math.inf:
            raise self.error(key, f"{text[:50]!r} is not a duration", "write it like 90s, 10m, 1h30m or 7d")
        return seconds

    def choice(self, key: str, options: Sequence[str], default: str = _MISSING) -> str:
        value = self.text(key, default)
        if value not in options and value != default:
            near = nearest(value, options)
            raise self.error(
                key, f"{value!r} is not one of {', '.join(options)}", f"did you mean {near!r}?" if near else ""
            )
        return value

    def mapping(self, key: str) -> Fields:
        """A nested mapping; an empty one if the key is missing."""
        self._taken.add(key)
        node = self._values.get(key)
        if node is None or key not in self:
            node = yaml.MappingNode("tag:yaml.org,2002:map", [], start_mark=node.start_mark if node else self._mark)
        if not isinstance(node, yaml.MappingNode):
            raise self.error(key, "is not a mapping")
        return Fields(self.name, node, f"{self.path}{key}.")

    def mappings(self, key: str) -> tuple[Fields, ...]:
        """A list of mappings; empty if the key is missing."""
        self._taken.add(key)
        if key not in self:
            return ()
        node = self._values[key]
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(key, "is not a list")
        found = []
        for number, item in enumerate(node.value):
            if not isinstance(item, yaml.MappingNode):
                raise InputError(
                    f"{self.name}:{item.start_mark.line + 1}", f"{self.path}{key}[{number}] is not a mapping"
                )
            found.append(Fields(self.name, item, f"{self.path}{key}[{number}]."))
        return tuple(found)

    def flag(self, key: str, default: bool = False) -> bool:
        return self._take(key, default, "true or false", lambda node: _FLAGS.get(_text(node) or ""))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty if the key is missing."""
        return self._take(key, (), "a list of texts", _texts)

    def value(self, key: str, default: Any = _MISSING) -> Any:
        """The plain Python value, whatever its shape."""
        try:
            return self._take(key, default, "a value", lambda node: Loader("").construct_document(node))
        except (yaml.YAMLError, ValueError) as error:
            raise self.error(key, "is not a plain value") from error

    def skip(self, *keys: str) -> None:
        """Say that these keys are known and of no interest here."""
        self._taken.update(keys)

    def done(self) -> None:
        """Raise InputError for the first key that no getter took."""
        for key in self._values:
            if key not in self._taken:
                near = nearest(key, self._taken)
                known = ", ".join(sorted(self._taken))
                raise self.error(
                    key, "is not a known key", f"did you mean {near!r}?" if near else f"known here: {known}"
                )


def nearest(word: str, known: Any) -> str:
    """The known word most like this one, "" if none is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def _text(node: yaml.Node) -> str | None:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


def _texts(node: yaml.Node) -> tuple[str, ...] | None:
    found = [_text(each) for each in node.value] if isinstance(node, yaml.SequenceNode) else [None]
    return tuple(each for each in found if each is not None) if None not in found else None


def _number(node: yaml.Node) -> float | None:
    if not isinstance(node, yaml.ScalarNode) or node.tag not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return None
    try:
        value = Loader("").construct_document(node)
        return value if math.isfinite(value) else None
    except (ValueError, OverflowError):  # as of !!int x, and of 400 digits
        return None


def compose(data: bytes | str, name: str) -> list[yaml.Node]:
    """The documents of a YAML stream as nodes, without empty ones; a syntax error is an InputError with its line."""
    check(data, name)
    return nodes(data, name)


def check(data: bytes | str, name: str) -> None:
    """Raise InputError, with its line, for what `nodes` would not take: a syntax error, too deep a nesting."""
    depth = 0
    anchors: set[str] = set()
    with _errors(name, 0):
        for event in yaml.parse(data, Loader=Loader):
            if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
                if isinstance(event, yaml.AliasEvent) and event.anchor not in anchors:
                    line = f":{event.start_mark.line + 1}" if event.start_mark else ""
                    raise InputError(f"{name}{line}", f"is not YAML: there is no anchor for the alias {event.anchor!r}")
                anchors.add(event.anchor)
            elif isinstance(event, yaml.DocumentStartEvent):
                anchors.clear()
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise InputError(name, f"is nested more than {_DEEPEST} levels deep")


def nodes(data: bytes | str, name: str, before: int = 0) -> list[yaml.Node]:
    """The documents of a stream, or a part of it that has `before` lines before it, which `check` has passed."""
    with uncollected(), _errors(name, before):
        return [node for node in yaml.compose_all(data, Loader=Loader) if node is not None]


@contextmanager
def uncollected() -> Iterator[None]:
    """For work on millions of nodes, which all stay: looking for garbage among them takes many times longer."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def _errors(name: str, before: int) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{before + mark.line + 1}" if mark else ""
        raise InputError(f"{name}{line}", f"is not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeError) as error:  # an argument's bytes that are no UTF-8 cannot be encoded either
        raise InputError(name, f"is not YAML: {str(error).splitlines()[0]}") from error


def read(data: bytes | str, name: str) -> Fields:
    """The one mapping that a YAML file holds. `name` is the file's, for messages."""
    documents = compose(data, name)
    if len(documents) != 1 or not isinstance(documents[0], yaml.MappingNode):
        found = "is empty" if not documents else "holds several documents" if len(documents) > 1 else "is not a mapping"
        raise InputError(name, found, "one YAML mapping is expected")
    return Fields(name, documents[0])
