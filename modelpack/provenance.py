"""How good a version was found, and what it was made from: two notes that travel with the image, as annotations.

They stand on the image index alone. The model digest knows nothing of them, so that another evaluation of the same
model is no other model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modelpack import oci
from modelpack.errors import InputError

MOST_METRICS = 50
MOST_LINEAGE = 20
_KEY = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_LONGEST_NAME = 100
_LONGEST_VALUE = 1000
_LARGEST_FILE = 1 << 20  # bytes
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")


def read_metrics(path: Path) -> dict[str, float]:
    """An evaluation's file: a JSON object of at most MOST_METRICS finite numbers; raises InputError for all else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", "name the evaluation's JSON file") from error
    remedy = 'write one JSON object of numbers, like {"mae": 1.93}'
    if len(data) > _LARGEST_FILE:
        raise InputError(path, "is larger than 1 MiB", remedy)
    try:
        pairs = json.loads(data, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"is not JSON: {error}", remedy) from error
    if data.lstrip()[:1] != b"{":  # an object is a list of pairs here, so that a name given twice is seen
        raise InputError(path, "is not a JSON object", remedy)
    if len(pairs) > MOST_METRICS:
        raise InputError(path, f"has {len(pairs)} metrics, more than {MOST_METRICS}", "keep those that decide")
    metrics: dict[str, float] = {}
    for name, value in pairs:
        if not _is_name(name):
            raise InputError(path, f"{name[:_LONGEST_NAME]!r} is not a metric's name", "use up to 100 printable ones")
        if name in metrics:
            raise InputError(path, f"has {name!r} twice", "keep one")
        if not _is_number(value):
            raise InputError(path, f"{name!r} is not a finite number", "leave it out, or flatten what it holds")
        metrics[name] = value
    return metrics


def read_lineage(words: Iterable[str]) -> dict[str, str]:
    """What `--lineage KEY=VALUE` gives; raises InputError, which never shows a value."""
    lineage: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        value = value.strip()
        if not equals or not _KEY.fullmatch(key):
            problem = f"{key[:_LONGEST_NAME]!r} is not a key" if equals else "is not KEY=VALUE"
            raise InputError("--lineage", problem, "write it like data=s3://datasets/mpg/2024-06 or commit=4f2a91c")
        if key in lineage:
            raise InputError(f"--lineage {key}", "is given twice", "keep one")
        if not value or len(value) > _LONGEST_VALUE or not value.isprintable():
            raise InputError(f"--lineage {key}", f"is not one line of 1 to {_LONGEST_VALUE} characters")
        if _PASSWORD.search(value):
            raise InputError(f"--lineage {key}", "holds a password, and everybody can read it there", "leave it out")
        lineage[key] = value
    if len(lineage) > MOST_LINEAGE:
        raise InputError("--lineage", f"is given {len(lineage)} times, more than {MOST_LINEAGE}")
    return lineage


def to_annotations(metrics: Mapping[str, float], lineage: Mapping[str, str]) -> dict[str, str]:
    """What the image index carries; nothing for a build that was told nothing."""
    found = {oci.ANNOTATION_LINEAGE + key: value for key, value in lineage.items()}
    return found | ({oci.ANNOTATION_METRICS: oci.canonical_json(metrics).decode()} if metrics else {})


def metrics_of(notes: Mapping[str, str]) -> dict[str, float]:
    """The metrics in an index's annotations, sorted by name. What others wrote there and is none is left out."""
    try:
        value: Any = json.loads(notes.get(oci.ANNOTATION_METRICS, ""))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    fitting = [(name, each) for name, each in sorted(value.items()) if _is_name(name) and _is_number(each)]
    return dict(fitting[:MOST_METRICS])


def lineage_of(notes: Mapping[str, str]) -> dict[str, str]:
    """The lineage in an index's annotations, sorted by key. What others wrote there and is none is left out."""
    stripped = {
        key.removeprefix(oci.ANNOTATION_LINEAGE): value
        for key, value in sorted(notes.items())
        if key.startswith(oci.ANNOTATION_LINEAGE)
    }
    fitting = [
        (key, value[:_LONGEST_VALUE]) for key, value in stripped.items() if _KEY.fullmatch(key) and value.isprintable()
    ]
    return dict(fitting[:MOST_LINEAGE])


def _is_name(name: str) -> bool:
    return name.strip() == name and 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def _is_number(value: object) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # an integer that no float can hold
        return False
