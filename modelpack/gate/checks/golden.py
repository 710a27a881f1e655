"""The golden set: known requests with known answers, sent to both versions before the canary gets any traffic.

Both answer the same examples, so the difference of their metrics is paired; its interval is that of modelpack.quality.
Rejected is what is shown to be worse by more than the margin. What is worse only by its number, and might be chance, is
for a person. A set too short for an interval is an exam: there the numbers themselves decide.

A good canary is rejected with a probability of at most alpha: half of it is for all examples (each side of an interval
of confidence 1 - alpha), half for the segments together (Bonferroni over them).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from modelpack.errors import InputError
from modelpack.fields import Fields
from modelpack.gate import verdict
from modelpack.gate.checks.check import Evidence, Need, Window
from modelpack.gate.checks.golden_exam import CLOSE, Exam, Finding, Row, Rule, columns
from modelpack.gate.checks.golden_metric import Metric
from modelpack.gate.checks.golden_set import BENCHMARK, EXAMPLES, Benchmark, Example, read_benchmark, read_examples
from modelpack.quality.paired import Paired

WORST = 20


@dataclass(frozen=True)
class Golden:
    """Accepts when the canary is within `floor` and at most `margin` worse than the primary, in the metric's unit.

    `alpha` is 1 - confidence, None for the check's share of the rollout's.
    """

    type: ClassVar[str] = "golden"
    compares: ClassVar[bool] = True
    name: str
    path: str
    metric: Metric
    floor: float
    margin: float
    unit: str = ""
    alpha: float | None = None
    segments: Rule | None = None
    against: Rule | None = None  # the benchmark
    examples: tuple[Example, ...] = ()
    benchmark: Benchmark | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Golden:
        path = fields.text("path")
        if not path.startswith("/") or any(character.isspace() for character in path):
            raise fields.error("path", f"{path!r} is not a path that starts with /")
        confidence = fields.number("confidence", low=0.5, high=0.9999) if "confidence" in fields else None
        return cls(
            name=fields.text("name"),
            path=path,
            metric=Metric.parse(fields),
            floor=fields.number("floor"),
            margin=fields.number("margin", low=0),
            unit=fields.text("unit", ""),
            alpha=None if confidence is None else round(1 - confidence, 9),
            segments=Rule.parse(fields, "segments"),
            against=Rule.parse(fields, "benchmark"),
        )

    @property
    def needs(self) -> tuple[Need, ...]:
        return ()

    def with_files(self, files: Mapping[str, bytes], folder: str) -> Golden:
        """The check with its examples, and the benchmark if it asks for one; raises InputError with file and line."""
        wanted = (EXAMPLES, BENCHMARK) if self.against else (EXAMPLES,)
        for name in wanted:
            if name not in files:
                raise InputError(f"{folder}/{name}", "there is no such file", f"check {self.name!r} needs it")
        name = f"{folder}/{EXAMPLES}"
        examples = read_examples(files[EXAMPLES], name, self.metric.name, self.metric.is_expected)
        undefined = self.metric.why_undefined([each.expected for each in examples])
        if undefined:
            raise InputError(name, undefined)
        if self.segments and not any(each.segment for each in examples):
            raise InputError(name, "no example has a segment", f"check {self.name!r} judges by segment")
        benchmark = None
        if self.against:
            benchmark = read_benchmark(files[BENCHMARK], f"{folder}/{BENCHMARK}", self.metric.name)
        return replace(self, examples=examples, benchmark=benchmark)

    def description(self) -> dict[str, Any]:
        return {
            "statistic": self.metric.name,
            "measures": f"{self.metric.words} on the golden set",
            "unit": self.unit,
            "share": self.metric.is_share,
            "better": "lower" if self.metric.lower_is_better else "higher",
            "counts": "examples",
            "limit": self.floor,
            "margin": self.margin,
            "min_sample": len(self.examples),
            "confidence": None if self.alpha is None else round(1 - self.alpha, 9),
            "segments": "segment" if self.segments else "",
            "benchmark": self.benchmark.name if self.benchmark else "",
        }

    def read_prediction(self, answer: Any) -> Any:
        """The first prediction of a KServe v1 answer; raises ValueError with a sentence for what is none."""
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(predictions, list) or not predictions:
            raise ValueError('the answer is not {"predictions": […]}')
        value = predictions[0]
        if not self.metric.is_prediction(value):
            raise ValueError(f"{json.dumps(value)[:80]} is not a prediction that {self.metric.name} can use")
        return value

    def evaluate(self, window: Window) -> Evidence:
        if window.pairs is None:
            return Evidence(verdict.PENDING, f"{len(self.examples)} examples are being asked")
        pairs = {pair.id: pair for pair in window.pairs}
        rows = [(example, pairs[example.id]) for example in self.examples if example.id in pairs]
        seen = Evidence(verdict.HOLD, "", n=len(rows), n_primary=len(rows), worst=self._worst(rows))
        failed = [pair for _, pair in rows if pair.canary.error]
        alone = [pair for pair in failed if not pair.primary.error]
        broken = [pair for _, pair in rows if pair.primary.error]
        if not rows:
            return replace(seen, reason="not one example was asked")
        if alone:
            reason = f"the canary failed on {len(alone)} of {len(rows)} examples that the primary answers: "
            return replace(seen, verdict=verdict.REJECT, reason=f"{reason}{alone[0].id}: {alone[0].canary.error}")
        if window.rollback and not failed:
            reason = f"a person asked to go back to this version, and it answers all {len(rows)} examples"
            return replace(seen, verdict=verdict.ACCEPT, reason=reason)
        if broken:
            reason = f"the primary failed on {len(broken)} of {len(rows)} examples: {broken[0].id}: "
            return replace(seen, reason=reason + broken[0].primary.error, n_primary=len(rows) - len(broken))
        try:
            return self._compare(rows, seen, self.alpha if self.alpha is not None else window.alpha)
        except ValueError as error:
            return replace(seen, reason=str(error))

    def _compare(self, rows: Sequence[Row], seen: Evidence, alpha: float) -> Evidence:
        exam = Exam(self.metric, self.unit, tuple(rows), alpha / (1 + (self.benchmark is not None)))
        found = exam.paired()
        if found.new is None or found.old is None:
            return replace(seen, reason=f"{self.metric.name} is not defined on these {len(rows)} examples")
        beside = exam.by_segment(self.segments)
        if self.benchmark and self.against:
            beside += exam.against_benchmark(self.benchmark, self.against)
        findings = [exam.against_primary(found, self.margin), *beside]
        if exam.worsening(found.new, self.floor) > CLOSE:
            findings.insert(0, Finding(verdict.REJECT, f"the floor is {exam.number(self.floor)}"))
        given = next((each for each in (verdict.REJECT, verdict.HOLD) if _said(findings, each)), verdict.ACCEPT)
        kept = f"within the floor of {exam.number(self.floor)} and the margin of {exam.number(self.margin)}"
        remark = self.metric.remark(*columns(rows)[:2])
        reasons = [_numbers(exam, found), *(_said(findings, given) or [kept]), *filter(None, [remark])]
        return replace(
            seen,
            verdict=given,
            reason=", ".join(reasons),
            estimate=found.difference,
            low=found.low,
            high=found.high,
            canary=found.new,
            primary=found.old,
            parts=tuple(each.part for each in beside if each.part),
        )

    def _worst(self, rows: Sequence[Row]) -> tuple[dict[str, Any], ...]:
        answered = [(example, pair) for example, pair in rows if not pair.canary.error]
        errors = self.metric.errors(*columns(answered)[:2]) if answered else []
        sizes = {example.id: size for (example, _), size in zip(answered, errors, strict=True)}
        found = []
        for example, pair in rows:
            size = sizes.get(example.id, math.inf)
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


def _said(findings: Sequence[Finding], given: str) -> list[str]:
    return [each.reason for each in findings if each.verdict == given and each.reason]


def _numbers(exam: Exam, found: Paired) -> str:
    assert found.new is not None and found.old is not None
    text = f"{exam.metric.name} is {exam.number(found.new)} (primary {exam.number(found.old)})"
    if found.difference is None or found.low is None or found.high is None:
        return text
    interval = exam.interval(found.difference, found.low, found.high, exam.alpha)
    return f"{text} on {len(exam.rows)} examples ({interval})"
