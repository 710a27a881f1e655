"""How the answers to a golden set are judged: against the primary, by segment, and against a benchmark's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.fields import Fields
from modelpack.gate import verdict
from modelpack.gate.checks.check import Pair, Part
from modelpack.gate.checks.golden_metric import Metric
from modelpack.gate.checks.golden_set import Benchmark, Example
from modelpack.quality.interval import FEWEST
from modelpack.quality.paired import Paired

CLOSE = 1e-12  # of two numbers that rounding alone tells apart

Row = tuple[Example, Pair]


@dataclass(frozen=True)
class Rule:
    """How much worse is allowed, in the metric's unit; `min_sample` examples are needed for an interval."""

    margin: float
    min_sample: int = FEWEST

    @classmethod
    def parse(cls, fields: Fields, key: str) -> Rule | None:
        """None without the key."""
        if key not in fields:
            return None
        own = fields.mapping(key)
        rule = cls(own.number("margin", low=0), own.integer("min_sample", FEWEST, low=5))
        own.done()
        return rule


@dataclass(frozen=True)
class Finding:
    """What one comparison says; `reason` is "" where nothing speaks against the canary. `part`: a table's line."""

    verdict: str
    reason: str
    part: Part | None = None


@dataclass(frozen=True)
class Exam:
    """Examples that both versions answered. Each comparison over all of them may be wrong with `alpha` (half of it
    rejects a good canary), and so may all its segments together."""

    metric: Metric
    unit: str
    rows: tuple[Row, ...]
    alpha: float

    def paired(self) -> Paired:
        """Canary against primary; raises ValueError where a user's metric fails."""
        return self.metric.compare(*columns(self.rows), self.alpha)

    def against_primary(self, found: Paired, margin: float) -> Finding:
        assert found.new is not None and found.old is not None
        return self._judge(found.new, found.old, (found.low, found.high), margin, "the primary", len(self.rows))

    def by_segment(self, rule: Rule | None) -> list[Finding]:
        """Each segment against the primary. One that is shown to be worse than the rule allows rejects; one with too
        few examples, or without a rule, says nothing."""
        names = sorted({example.segment for example, _ in self.rows if example.segment})
        findings = []
        for name in names:
            alpha, own = self.alpha / len(names), self._of(name)
            try:
                each = self.metric.compare(*columns(own), alpha, rule.min_sample if rule else FEWEST)
            except ValueError:  # of a user's metric, which a few examples need not suit
                each = Paired(None)
            given, reason = verdict.UNDECIDED, ""
            if rule and each.new is not None and each.old is not None and each.low is not None:
                interval = (each.low, each.high)
                given, reason = _veto(self._judge(each.new, each.old, interval, rule.margin, "the primary", len(own)))
            part = Part(name, given, each.difference, each.low, each.high, len(own), each.new, each.old, len(own))
            findings.append(Finding(given, reason and f"segment {name}: {self._beside(part, alpha)}, {reason}", part))
        return findings

    def against_benchmark(self, benchmark: Benchmark, rule: Rule) -> list[Finding]:
        """All examples against the benchmark's score, and each segment that it has a score for; those only reject."""
        here = {example.segment for example, _ in self.rows}
        scored = {segment: score for segment, score in benchmark.segments.items() if segment in here}
        findings = []
        for segment, score in {"": benchmark.score, **scored}.items():
            own, alpha = self._of(segment), self.alpha / len(scored) if segment else self.alpha
            value, low, high = self.metric.alone(*columns(own)[:2], alpha, rule.min_sample)
            given, reason = verdict.UNDECIDED, ""
            bounds = (None, None) if low is None or high is None else (low - score, high - score)
            if value is not None and (not segment or low is not None):
                found = self._judge(value, score, bounds, rule.margin, benchmark.name, len(own))
                given, reason = _veto(found) if segment else (found.verdict, found.reason)
            name = f"{benchmark.name}, {segment}" if segment else benchmark.name
            difference = None if value is None else value - score
            part = Part(name, given, difference, bounds[0], bounds[1], len(own), value, score)
            said = f"{segment or 'all'} against {benchmark.name}: {self._beside(part, alpha)}, {reason}"
            findings.append(Finding(given, said if reason else "", part))
        return findings

    def worsening(self, value: float, against: float) -> float:
        """How much worse a value is, in the metric's unit."""
        return value - against if self.metric.lower_is_better else against - value

    def number(self, value: float) -> str:
        return f"{value:.4g} {self.unit}".rstrip()

    def interval(self, estimate: float, low: float, high: float, alpha: float) -> str:
        return f"{estimate:+.3g}, {low:+.3g} to {high:+.3g} at {100 * (1 - alpha):.4g} %"

    def _of(self, segment: str) -> list[Row]:
        return [row for row in self.rows if segment in ("", row[0].segment)]

    def _judge(
        self,
        value: float,
        against: float,
        interval: tuple[float | None, float | None],
        margin: float,
        whom: str,
        n: int,
    ) -> Finding:
        """Whether a value is worse than another by more than the margin."""
        worse, (low, high) = self.worsening(value, against), interval
        allowed = f"more than {self.number(margin)} worse than {whom}"
        if worse <= margin + CLOSE:
            return Finding(verdict.ACCEPT, "")
        if low is None or high is None:
            few = f"{n} examples are too few for an interval, so that the numbers themselves decide"
            return Finding(verdict.REJECT, f"{allowed}; {few}")
        least = low if self.metric.lower_is_better else -high
        if least > margin + CLOSE:
            return Finding(verdict.REJECT, allowed)
        needed = n * ((worse - least) / (worse - margin)) ** 2  # an interval's width goes with 1 / sqrt(n)
        hint = f", though some {_round_up(needed)} like these would" if needed < 100 * n else ""
        return Finding(verdict.HOLD, f"{allowed}, which {n} examples do not show{hint}: a person is asked")

    def _beside(self, part: Part, alpha: float) -> str:
        """A part's numbers."""
        if part.canary is None or part.primary is None:
            return "not defined"
        text = f"{self.metric.name} is {self.number(part.canary)}, not {self.number(part.primary)}"
        if part.estimate is None or part.low is None or part.high is None:
            return text
        return f"{text} ({self.interval(part.estimate, part.low, part.high, alpha)}; {part.n} examples)"


def columns(rows: Sequence[Row]) -> tuple[list[Any], list[Any], list[Any]]:
    """What is expected, what the canary and what the primary answered."""
    return (
        [example.expected for example, _ in rows],
        [pair.canary.value for _, pair in rows],
        [pair.primary.value for _, pair in rows],
    )


def _veto(found: Finding) -> tuple[str, str]:
    """A segment rejects or says nothing: many of them would ask for a person too often."""
    return (verdict.REJECT, found.reason) if found.verdict == verdict.REJECT else (verdict.ACCEPT, "")


def _round_up(value: float) -> int:
    """To two digits that count."""
    step = 10 ** max(0, len(str(int(value))) - 2)
    return int(-(-value // step) * step)
