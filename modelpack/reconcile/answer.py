"""What a needsSync service answers, read strictly: a question that has no clear answer starts nothing. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from modelpack.errors import InputError
from modelpack.reconcile.modelsync import Spec

MAX_ANSWER = 64 << 10  # bytes
_MAX_PARAMETERS = 100
_MAX_NAME, _MAX_VALUE, _MAX_MESSAGE = 256, 8192, 300  # characters


@dataclass(frozen=True)
class Answer:
    """What needsSync said."""

    needed: bool
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, or no run. `reason` is a condition's: one word in CamelCase."""

    reason: str
    message: str


def parse_answer(status: int, body: bytes, url: str) -> Answer:
    """What a needsSync service answered. Raises InputError."""
    if len(body) > MAX_ANSWER:
        raise InputError(url, f"answered more than {MAX_ANSWER >> 10} KiB")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(url, f"answered {status}" if status != 200 else "did not answer with a JSON object")
    if errors := value.get("errors"):
        first = errors[0] if isinstance(errors, list) else errors
        said = first.get("message") if isinstance(first, dict) else first
        raise InputError(url, f"answered {status} with an error: {printable(said)}")
    if status != 200:
        raise InputError(url, f"answered {status}")
    if value.get("kind", "NeedsSync") != "NeedsSync":
        raise InputError(url, f"answered with a {printable(value['kind'])}, not a NeedsSync")
    needed, parameters = value.get("needsSync"), value.get("parameters")
    if not isinstance(needed, bool):
        raise InputError(url, "did not answer true or false in needsSync")
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict) or len(parameters) > _MAX_PARAMETERS:
        raise InputError(url, f"answered with parameters that are no mapping of at most {_MAX_PARAMETERS}")
    for key, each in parameters.items():
        if not isinstance(each, str) or len(key) > _MAX_NAME or len(each) > _MAX_VALUE or "\0" in each:
            raise InputError(url, f"answered with a parameter {printable(key)} that is no text of {_MAX_VALUE}")
    return Answer(needed, MappingProxyType(parameters))


def printable(value: object) -> str:
    """Somebody else's text in one short line."""
    text = " ".join(str(value)[: 4 * _MAX_MESSAGE].split())
    return "".join(each if each.isprintable() else "?" for each in text)[:_MAX_MESSAGE]


def mapped(spec: Spec, answer: Answer) -> tuple[dict[str, str], str]:
    """The pipeline's parameters by name, of those that are mapped alone, and what tells this need from another.

    Raises InputError if one has no value: a pipeline that is told nothing would run with whatever the template holds.
    """
    names = [asked for asked, _ in spec.parameters]
    for each in (*names, *spec.identity):
        if not answer.parameters.get(each):
            raise InputError(spec.url, f"says that a run is needed, and not its parameter {each}")
    about = {each: answer.parameters[each] for each in spec.identity or names}
    return {pipeline: answer.parameters[asked] for asked, pipeline in spec.parameters}, digest_of(about)


def digest_of(parameters: Mapping[str, str]) -> str:
    """The same parameters give the same 16 characters."""
    return hashlib.sha256(json.dumps(dict(parameters), sort_keys=True).encode()).hexdigest()[:16]
