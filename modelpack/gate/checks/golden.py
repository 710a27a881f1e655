"""The golden set: known requests with known answers, sent to both versions before the canary gets any traffic.

The verdict compares the metric itself with the floor and with the primary's; the interval of the difference (paired
bootstrap percentiles, Efron 1979; 95 %) is shown beside it and decides nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from modelpack.errors import InputError
from modelpack.fields import Fields
from modelpack.gate import verdict
from modelpack.gate.checks.check import Evidence, Pair, Window

MAX_BYTES = 900 * 1024  # what a ConfigMap can hold beside gate.yaml
WORST = 20
METRICS = ("mae", "rmse", "accuracy")
_RESAMPLES = 1000
_LARGEST = 1e150  # a prediction whose square is still a number
_LONGEST = 500


@dataclass(frozen=True)
class Example:
    """One request with the answer that is right. `segment` groups examples for people."""

    id: str
    request: Any
    expected: Any
    segment: str = ""


@dataclass(frozen=True)
class Golden:
    """Accepts when the canary is within `floor` and at most `margin` worse than the primary, in the metric's unit."""

    type: ClassVar[str] = "golden"
    name: str
    path: str
    metric: str
    floor: float
    margin: float
    unit: str = ""
    examples: tuple[Example, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Golden:
        path = fields.text("path")
        if not path.startswith("/") or any(character.isspace() for character in path):
            raise fields.error("path", f"{path!r} is not a path that starts with /")
        return cls(
            name=fields.text("name"),
            path=path,
            metric=fields.choice("metric", METRICS),
            floor=fields.number("floor"),
            margin=fields.number("margin", low=0),
            unit=fields.text("unit", ""),
        )

    def description(self) -> dict[str, Any]:
        return {
            "statistic": self.metric,
            "unit": self.unit,
            "limit": self.floor,
            "margin": self.margin,
            "min_sample": len(self.examples),
        }

    def evaluate(self, window: Window) -> Evidence:
        if window.pairs is None:
            return Evidence(verdict.PENDING, f"{len(self.examples)} examples are being asked")
        pairs = {pair.id: pair for pair in window.pairs}
        rows = [(example, pairs[example.id]) for example in self.examples if example.id in pairs]
        worst = self._worst(rows)
        alone = [pair for _, pair in rows if pair.canary.error and not pair.primary.error]
        if alone:
            reason = f"the canary failed on {len(alone)} of {len(rows)} examples that the primary answers: "
            return Evidence(
                verdict.REJECT, reason + f"{alone[0].id}: {alone[0].canary.error}", n=len(rows), worst=worst
            )
        if window.rollback and not any(pair.canary.error for _, pair in rows):
            reason = f"a person asked to go back to this version, and it answers all {len(rows)} examples"
            return Evidence(verdict.ACCEPT, reason, n=len(rows), worst=worst)
        broken = [pair for _, pair in rows if pair.primary.error]
        canary = self._score([(example.expected, pair.canary.value) for example, pair in rows if not pair.canary.error])
        if broken:
            first = f"{broken[0].id}: {broken[0].primary.error}"
            reason = f"the primary failed on {len(broken)} of {len(rows)} examples: {first}"
            return Evidence(verdict.HOLD, reason, n=len(rows), canary=canary, worst=worst)
        primary = self._score([(example.expected, pair.primary.value) for example, pair in rows])
        assert canary is not None and primary is not None
        low, high = self._interval(rows)
        given, reason = self._judge(canary, primary)
        return Evidence(
            given,
            reason,
            estimate=canary - primary,
            low=low,
            high=high,
            n=len(rows),
            canary=canary,
            primary=primary,
            worst=worst,
            n_primary=len(rows),
        )

    @property
    def _sign(self) -> int:
        """1 where more is worse."""
        return -1 if self.metric == "accuracy" else 1

    def _judge(self, canary: float, primary: float) -> tuple[str, str]:
        seen = f"{self.metric} is {canary:.4g}{self._unit} (primary {primary:.4g}{self._unit})"
        if self._sign * (canary - self.floor) > 0:
            return verdict.REJECT, f"{seen}, the floor is {self.floor:g}{self._unit}"
        if self._sign * (canary - primary) > self.margin:
            return verdict.REJECT, f"{seen}, more than {self.margin:g}{self._unit} worse than the primary"
        return verdict.ACCEPT, f"{seen}, within the floor of {self.floor:g}{self._unit} and the margin"

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _losses(self, answers: Sequence[tuple[Any, Any]]) -> list[float]:
        """Per example, so that the metric is their mean (the root of it for rmse)."""
        if self.metric == "accuracy":
            return [float(expected == value) for expected, value in answers]
        power = 2 if self.metric == "rmse" else 1
        return [abs(float(value) - float(expected)) ** power for expected, value in answers]

    def _score(self, answers: Sequence[tuple[Any, Any]]) -> float | None:
        losses = self._losses(answers)
        return self._mean(np.array(losses)).item() if losses else None

    def _mean(self, losses: Any) -> Any:
        mean = losses.mean(axis=-1)
        return np.sqrt(mean) if self.metric == "rmse" else mean

    def _interval(self, rows: Sequence[tuple[Example, Pair]]) -> tuple[float, float]:
        canary = np.array(self._losses([(example.expected, pair.canary.value) for example, pair in rows]))
        primary = np.array(self._losses([(example.expected, pair.primary.value) for example, pair in rows]))
        picks = np.random.default_rng(0).integers(0, len(rows), (_RESAMPLES, len(rows)))
        low, high = np.quantile(self._mean(canary[picks]) - self._mean(primary[picks]), (0.025, 0.975))
        return float(low), float(high)

    def _worst(self, rows: Sequence[tuple[Example, Pair]]) -> tuple[dict[str, Any], ...]:
        def error(expected: Any, value: Any) -> float:
            return float(expected != value) if self.metric == "accuracy" else abs(float(value) - float(expected))

        found = []
        for example, pair in rows:
            size = math.inf if pair.canary.error else error(example.expected, pair.canary.value)
            entry = {
                "id": example.id,
                "segment": example.segment,
                "expected": example.expected,
                "canary": pair.canary.value,
                "primary": pair.primary.value,
                "error": pair.canary.error or size,
            }
            found.append((size, entry))
        return tuple(entry for _, entry in sorted(found, key=lambda each: -each[0])[:WORST])

    def read_prediction(self, answer: Any) -> Any:
        """The first prediction of a KServe v1 answer; raises ValueError with a sentence for what is none."""
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(predictions, list) or not predictions:
            raise ValueError('the answer is not {"predictions": […]}')
        value = predictions[0]
        if not self._is_value(value):
            raise ValueError(f"{json.dumps(value)[:80]} is not a prediction that {self.metric} can use")
        return value

    def _is_value(self, value: Any) -> bool:
        if isinstance(value, str | bool):
            return self.metric == "accuracy" and _is_text(str(value))
        return isinstance(value, int | float) and abs(value) < _LARGEST

    def with_examples(self, data: bytes, name: str) -> Golden:
        """The check with the lines of a golden.jsonl; raises InputError with `name` and the line."""
        if len(data) > MAX_BYTES:
            raise InputError(name, f"has {len(data)} bytes, more than {MAX_BYTES}", "leave out examples")
        examples: dict[str, Example] = {}
        for number, line in enumerate(data.split(b"\n"), start=1):
            if not line.strip():
                continue
            example = self._example(line, f"{name}:{number}")
            if example.id in examples:
                raise InputError(f"{name}:{number}", f"id {example.id!r} is given twice")
            examples[example.id] = example
        if not examples:
            raise InputError(name, "holds no examples", 'write {"id", "request", "expected"} a line')
        return replace(self, examples=tuple(examples.values()))

    def _example(self, line: bytes, where: str) -> Example:
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise InputError(where, f"is not JSON: {error}") from error
        except RecursionError as error:
            raise InputError(where, "is nested too deeply") from error
        if not isinstance(entry, dict):
            raise InputError(where, "is not a mapping")
        unknown = set(entry) - {"id", "request", "expected", "segment"}
        missing = {"id", "request", "expected"} - set(entry)
        if unknown or missing:
            raise InputError(where, f"{min(missing)!r} is missing" if missing else f"key {min(unknown)!r} is not known")
        name, segment = entry["id"], entry.get("segment") or ""
        if not name or not _is_text(name) or not _is_text(segment):
            raise InputError(where, f"id and segment are not printable texts of at most {_LONGEST} characters")
        if not self._is_value(entry["expected"]):
            raise InputError(where, f"expected is not a value that {self.metric} can use")
        return Example(name, entry["request"], entry["expected"], segment)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST
