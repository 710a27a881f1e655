"""The files of a golden check: `golden.jsonl`, an example a line, and `benchmark.json`, scores to hold it against.

{"id": "c1", "request": {"instances": [{"weight": 3504}]}, "expected": 18.0, "segment": "usa"}

{"name": "the regression of 2021", "scores": {"mae": 2.6}, "segments": {"usa": {"mae": 2.9}}}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelpack.errors import InputError
from modelpack.quality import answers

EXAMPLES, BENCHMARK = "golden.jsonl", "benchmark.json"
MAX_BYTES = 900 * 1024  # what a ConfigMap can hold beside gate.yaml
MOST_SEGMENTS = 50
_LONGEST = 500


@dataclass(frozen=True)
class Example:
    """One request with the answer that is right. `segment` groups examples."""

    id: str
    request: Any
    expected: Any
    segment: str = ""


@dataclass(frozen=True)
class Benchmark:
    """What something else reaches on these examples: its score, and by segment where that is known."""

    name: str
    score: float
    segments: Mapping[str, float]


def read_examples(data: bytes, name: str, metric: str, is_expected: Callable[[Any], bool]) -> tuple[Example, ...]:
    """The lines of a golden.jsonl; raises InputError with `name` and the line."""
    _bounded(data, name, "leave out examples")
    examples: dict[str, Example] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        example = _example(line, f"{name}:{number}", metric, is_expected)
        if example.id in examples:
            raise InputError(f"{name}:{number}", f"id {example.id!r} is given twice")
        examples[example.id] = example
    if not examples:
        raise InputError(name, "holds no examples", 'write {"id", "request", "expected"} a line')
    found = {each.segment for each in examples.values() if each.segment}
    if len(found) > MOST_SEGMENTS:
        raise InputError(name, f"has {len(found)} segments", f"{MOST_SEGMENTS} at most can be told apart")
    return tuple(examples.values())


def read_benchmark(data: bytes, name: str, metric: str) -> Benchmark:
    """What a benchmark.json says of a metric; raises InputError."""
    _bounded(data, name, "leave out segments")
    entry = _mapping(data, name)
    unknown = set(entry) - {"name", "scores", "segments"}
    if unknown:
        raise InputError(name, f"key {min(unknown)!r} is not known", "name, scores and segments are")
    title, segments = entry.get("name", "the benchmark"), entry.get("segments", {})
    if not title or not is_text(title):
        raise InputError(name, f"name is not a printable text of at most {_LONGEST} characters")
    if not isinstance(segments, dict) or len(segments) > MOST_SEGMENTS or not all(map(is_text, segments)):
        raise InputError(name, f"segments is not a mapping of at most {MOST_SEGMENTS} names")
    score = _score(entry.get("scores"), metric)
    if score is None:
        raise InputError(name, f"scores has no number {metric!r}", f'write {{"scores": {{"{metric}": NUMBER}}}}')
    scored = {segment: _score(each, metric) for segment, each in segments.items()}
    wrong = next((segment for segment, each in scored.items() if each is None), None)
    if wrong is not None:
        raise InputError(name, f"segment {wrong!r} has no number {metric!r}")
    return Benchmark(title, score, {segment: each for segment, each in scored.items() if each is not None})


def is_text(value: Any) -> bool:
    """A printable text that is not too long to be shown."""
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST


def _score(scores: Any, metric: str) -> float | None:
    value = scores.get(metric) if isinstance(scores, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return answers.number(value)


def _bounded(data: bytes, name: str, remedy: str) -> None:
    if len(data) > MAX_BYTES:
        raise InputError(name, f"has {len(data)} bytes, more than {MAX_BYTES}", remedy)


def _mapping(data: bytes, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(data)
    except ValueError as error:
        raise InputError(where, f"is not JSON: {error}") from error
    except RecursionError as error:
        raise InputError(where, "is nested too deeply") from error
    if not isinstance(entry, dict):
        raise InputError(where, "is not a mapping")
    return entry


def _example(line: bytes, where: str, metric: str, is_expected: Callable[[Any], bool]) -> Example:
    entry = _mapping(line, where)
    unknown = set(entry) - {"id", "request", "expected", "segment"}
    missing = {"id", "request", "expected"} - set(entry)
    if unknown or missing:
        raise InputError(where, f"{min(missing)!r} is missing" if missing else f"key {min(unknown)!r} is not known")
    name, segment = entry["id"], entry.get("segment") or ""
    if not name or not is_text(name) or not is_text(segment):
        raise InputError(where, f"id and segment are not printable texts of at most {_LONGEST} characters")
    if not is_expected(entry["expected"]):
        raise InputError(where, f"expected is not a value that {metric} can use")
    return Example(name, entry["request"], entry["expected"], segment)
