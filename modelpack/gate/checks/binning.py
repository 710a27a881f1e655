"""Values counted in bins: predictions that were told, a histogram's buckets, and a reference kept with a model.

reference.json: {"predictions": {"bounds": [10, 20, 30], "counts": [12, 90, 80, 18]},
                 "origin": {"counts": {"europe": 40, "japan": 60, "usa": 100}}}
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from modelpack.errors import InputError
from modelpack.gate.checks.check import Cells, Value
from modelpack.gate.checks.histogram import ALL
from modelpack.gate.checks.told import number, word
from modelpack.quality.drift import BINS

FILE = "reference.json"
OTHERS, NO_NUMBER = "other", "no number"
MOST_BINS = 200
LEAST = 20  # values of a reference
_FEW = 20  # distinct numbers, or categories, that each count by themselves
_MAX_BYTES = 900 * 1024


@dataclass(frozen=True)
class Scale:
    """Numbers by upper bounds, which belong to their bin, and what is no number beside; or, without bounds, categories
    by name and the others beside."""

    bounds: tuple[float, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Sequence[Value]) -> Scale:
        """Tenths of these numbers, or each one by itself where there are few; else the commonest categories."""
        numbers = [number(each) for each in values]
        known = [each for each in numbers if each is not None]
        if known and len(known) == len(values):
            distinct = np.unique(known)
            if len(distinct) > _FEW:
                distinct = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
            return cls(bounds=tuple(float(each) for each in distinct))
        return cls(names=tuple(sorted(each for each, _ in Counter(map(word, values)).most_common(_FEW))))

    @property
    def labels(self) -> tuple[str, ...]:
        """What the bins are called."""
        if not self.bounds:
            return (*self.names, OTHERS)
        between = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(self.bounds)]
        return (f"to {self.bounds[0]:.4g}", *between, f"above {self.bounds[-1]:.4g}", NO_NUMBER)

    def count(self, values: Sequence[Value]) -> tuple[float, ...]:
        counts = [0.0] * len(self.labels)
        for each in values:
            counts[self._place(each)] += 1
        return tuple(counts)

    def of_buckets(self, cells: Cells) -> tuple[float, ...]:
        """Counts of a histogram's cumulative buckets, which are read one after the other: none is below the last."""
        counts, below = [], 0.0
        for bound in (*(f"{each:g}" for each in self.bounds), ALL):
            until = max(below, cells.get(bound, 0.0))
            counts.append(until - below)
            below = until
        return (*counts, 0.0)

    def _place(self, value: Value) -> int:
        if not self.bounds:
            return self.names.index(word(value)) if word(value) in self.names else len(self.names)
        found = number(value)
        return len(self.bounds) + 1 if found is None else bisect_left(self.bounds, found)


@dataclass(frozen=True)
class Reference:
    """What a distribution was when the model was made: counts in the bins of a scale."""

    scale: Scale
    counts: tuple[float, ...]


def read_reference(data: bytes, name: str, key: str) -> Reference:
    """The distribution of this name in a reference.json; raises InputError."""
    if len(data) > _MAX_BYTES:
        raise InputError(name, f"has {len(data)} bytes, more than {_MAX_BYTES}")
    try:
        whole = json.loads(data)
    except ValueError as error:
        raise InputError(name, f"is not JSON: {error}") from error
    except RecursionError as error:
        raise InputError(name, "is nested too deeply") from error
    entry = whole.get(key) if isinstance(whole, dict) else None
    if not isinstance(entry, dict):
        known = ", ".join(sorted(map(str, whole))[:10]) if isinstance(whole, dict) else ""
        raise InputError(name, f"has no distribution {key!r}", f"there are {known}" if known else "")
    unknown = set(entry) - {"bounds", "counts"}
    if unknown:
        raise InputError(name, f"{key}: key {min(unknown)!r} is not known", "bounds and counts are")
    found = _named(entry) if isinstance(entry.get("counts"), dict) else _ordered(entry)
    if found is None:
        remedy = "counts are numbers by category, or one more of them than there are rising bounds"
        raise InputError(name, f"{key} is not a distribution of at most {MOST_BINS} bins", remedy)
    if sum(found.counts) < LEAST:
        raise InputError(name, f"{key} has {sum(found.counts):g} values", f"at least {LEAST} are needed")
    return found


def _named(entry: Mapping[str, Any]) -> Reference | None:
    counts: dict[str, Any] = entry["counts"]
    if "bounds" in entry or not 0 < len(counts) <= MOST_BINS or not all(map(_is_count, counts.values())):
        return None
    if not all(each.isprintable() and len(each) <= 500 for each in counts):
        return None
    scale = Scale(names=tuple(sorted(each for each in counts if each != OTHERS)))
    return Reference(scale, tuple(float(counts.get(each, 0.0)) for each in scale.labels)) if scale.names else None


def _ordered(entry: Mapping[str, Any]) -> Reference | None:
    bounds, counts = entry.get("bounds"), entry.get("counts")
    if not isinstance(bounds, list) or not isinstance(counts, list) or not 0 < len(bounds) < MOST_BINS:
        return None
    if len(counts) != len(bounds) + 1 or not all(map(_is_count, counts)):
        return None
    if any(isinstance(each, bool) or number(each) is None for each in bounds):
        return None
    if any(high <= low for low, high in pairwise(bounds)):
        return None
    return Reference(Scale(bounds=tuple(map(float, bounds))), (*map(float, counts), 0.0))


def _is_count(value: Any) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and math.isfinite(value) and 0 <= value < 1e15
