"""How numbers become a verdict, for all traffic together and for each segment.

The one place where a check of live traffic accepts, rejects, waits or holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.fields import Fields
from modelpack.gate import verdict
from modelpack.gate.checks.check import FAIL, PASS, WAIT, Evidence, Part, Window
from modelpack.gate.checks.segments import OTHERS, Segments, split
from modelpack.gate.statistics.counts import Bounds

NAMED = 5  # segments in one sentence
_NUMBERS = ("estimate", "low", "high", "canary", "primary")


@dataclass(frozen=True)
class Terms:
    """What is asked of live traffic.

    `margin` is how much worse than the primary the canary may be: above 0 the canary is accepted once it is shown to
    be within it; at 0 it is watched for the whole horizon and accepted if nothing was found; None where nothing is
    compared. `min_sample` are canary requests before any acceptance.
    """

    name: str
    margin: float | None
    min_sample: int
    without_data: str = WAIT
    alpha: float | None = None
    segments: Segments | None = None

    @classmethod
    def parse(cls, fields: Fields, *, compares: bool = True, highest: float | None = None) -> Terms:
        """`highest` is the largest margin that makes sense; raises InputError with file and line."""
        fields.skip("alpha")
        segments = Segments.parse(fields, margin=compares)
        if segments and segments.margin is not None and highest is not None:
            fields.mapping("segments").number("margin", high=highest)
        return cls(
            name=fields.text("name"),
            margin=fields.number("margin", low=0, high=highest) if compares else None,
            min_sample=fields.integer("min_sample", low=1),
            without_data=fields.choice("without_data", (WAIT, PASS, FAIL), WAIT),
            alpha=fields.number("alpha", low=1e-6, high=0.5) if "alpha" in fields else None,
            segments=segments,
        )

    @property
    def label(self) -> str:
        """The label whose values are the segments, "" for none."""
        return self.segments.label if self.segments else ""

    def questions(self, alpha: float) -> tuple[Question, Question]:
        """What is asked of all traffic together, and of each segment."""
        whole, each = split(self.segments, alpha)
        of = self.segments
        margin = self.margin if of is None or of.margin is None else of.margin
        sample = (of.min_sample if of else None) or self.min_sample
        return Question(self.margin or 0.0, whole, self.min_sample), Question(margin or 0.0, each, sample)

    def description(self) -> dict[str, Any]:
        """Its part of a check's description in the API's JSON."""
        return {
            "margin": self.margin,
            "min_sample": self.min_sample,
            "without_data": self.without_data,
            "segments": self.label,
        }


@dataclass(frozen=True)
class Question:
    """What is asked of some traffic: all of it or one segment's. `alpha` is for each of the two wrong verdicts."""

    margin: float
    alpha: float
    min_sample: int


@dataclass(frozen=True)
class Seen:
    """The answer: bounds, None until both versions have answered, and how many requests they rest on. `problem` says
    why there will be none."""

    bounds: Bounds | None
    n: int
    n_primary: int
    problem: str = ""

    @property
    def numbers(self) -> dict[str, Any]:
        """The bounds for evidence, as far as they are finite: JSON has no infinity."""
        values = {key: getattr(self.bounds, key) for key in _NUMBERS} if self.bounds else {}
        return {key: value for key, value in values.items() if math.isfinite(value)}


@dataclass(frozen=True)
class Words:
    """How a check speaks. `worse`, `within` and `nothing` begin the sentences of a canary that is worse, is shown to be
    no worse than allowed, and against which nothing was found. `say` gives the numbers, their interval, of how many
    and what is allowed; `difference` writes one with its unit; `things` are what is counted."""

    worse: str
    within: str
    nothing: str
    say: Callable[[Bounds, Seen, Question], str]
    difference: Callable[[float], str]
    things: str = "requests"


@dataclass(frozen=True)
class Scope:
    """What was asked of all traffic, named "", or of a segment, and the answer."""

    name: str
    question: Question
    seen: Seen

    @property
    def enough(self) -> bool:
        return self.seen.bounds is not None and self.seen.n >= self.question.min_sample

    @property
    def rejected(self) -> bool:
        return self.seen.bounds is not None and self.seen.bounds.rejected

    @property
    def accepted(self) -> bool:
        return self.enough and self.seen.bounds is not None and self.seen.bounds.accepted

    def part(self) -> Part:
        given = verdict.REJECT if self.rejected else verdict.ACCEPT if self.accepted else verdict.UNDECIDED
        return Part(self.name, given, n=self.seen.n, n_primary=self.seen.n_primary, **self.seen.numbers)


def decide(terms: Terms, words: Words, window: Window, scopes: Sequence[Scope]) -> Evidence:
    """The evidence of a check; the first scope is all traffic, the others its segments.

    A segment can reject by itself. Where acceptance needs a margin, all segments that have enough data have to show it
    too, or the horizon has to pass.
    """
    whole, *segments = scopes
    segments = [each for each in segments if each.name != OTHERS or each.seen.n or each.seen.n_primary]
    given, reason = _Judge(terms, words, window, whole, segments).verdict()
    parts = tuple(each.part() for each in segments)
    return Evidence(given, reason, n=whole.seen.n, n_primary=whole.seen.n_primary, parts=parts, **whole.seen.numbers)


@dataclass(frozen=True)
class _Judge:
    terms: Terms
    words: Words
    window: Window
    whole: Scope
    segments: Sequence[Scope]

    def verdict(self) -> tuple[str, str]:
        """(verdict, why in a sentence)."""
        terms, words, window, whole = self.terms, self.words, self.window, self.whole
        if window.rollback:
            return verdict.ACCEPT, f"a person asked to go back to this version{self._so_far}"
        found = [each for each in (whole, *self.segments) if each.rejected]
        if found:
            segments = _some([f"where {self._where(each)}: {self._said(each)}" for each in found if each.name])
            said = [self._said(whole)] * whole.rejected + segments
            return verdict.REJECT, f"{words.worse}{':' if whole.rejected else ''} {'; '.join(said)}"
        if whole.seen.problem:
            return verdict.HOLD, whole.seen.problem
        if window.unreachable:
            return verdict.HOLD, f"the metrics cannot be read: {window.unreachable}"
        over = window.elapsed >= 1
        if whole.accepted and (over or not self._open):
            return verdict.ACCEPT, f"{words.within}: {self._said(whole)}{self._beside}"
        if over and not whole.enough:
            return self._without_data()
        if self._silence and terms.without_data != PASS:
            return verdict.HOLD, f"{self._silence}{self._so_far}"
        if over and terms.margin == 0:
            return verdict.ACCEPT, f"{words.nothing}: {self._said(whole)}{self._power}{self._beside}"
        return verdict.UNDECIDED, self._waiting()

    def _without_data(self) -> tuple[str, str]:
        given = {WAIT: verdict.HOLD, PASS: verdict.ACCEPT, FAIL: verdict.REJECT}[self.terms.without_data]
        asked = f"; gate.yaml says without_data: {self.terms.without_data}" if given != verdict.HOLD else ""
        return given, f"the horizon is over, and {self._progress}{asked}{self._so_far}"

    def _waiting(self) -> str:
        if self._silence:
            return f"{self._silence}{self._so_far}"
        if not self.whole.enough:
            return f"{self._progress}{self._so_far}"
        numbers = self._said(self.whole)
        if self.terms.margin == 0:
            passed = f"{100 * self.window.elapsed:.0f} % of the horizon has passed"
            return f"{self.words.nothing} so far: {numbers}; accepted if that stays so, {passed}"
        if self.whole.accepted:
            return f"{self.words.within}: {numbers}; not shown yet where {self._where(*self._open)}"
        return f"the interval is still too wide: {numbers}"

    @property
    def _open(self) -> list[Scope]:
        """The segments that have enough data and are not decided."""
        return [each for each in self.segments if each.enough and not each.accepted]

    @property
    def _silence(self) -> str:
        window = self.window
        silent = window.silent >= window.patience
        return f"no request has reached the canary for {window.silent:.0f} s" if silent else ""

    @property
    def _progress(self) -> str:
        seen, least = self.whole.seen, self.whole.question.min_sample
        if seen.bounds is None and seen.n >= least:
            return f"there is too little to compare: {self._said(self.whole)}"
        return f"{seen.n:,} of at least {least:,} {self.words.things} of the canary are there"

    @property
    def _power(self) -> str:
        power = self.whole.seen.bounds.detectable if self.whole.seen.bounds else None
        if power is None or not math.isfinite(power):
            return ""
        return f"; {self.words.difference(power)} would have been found in 8 of 10 rollouts"

    @property
    def _beside(self) -> str:
        """What acceptance does not say of segments."""
        few = [f"{each.name} ({each.seen.n:,})" for each in self.segments if not each.enough]
        wide = self._open if self.terms.margin != 0 else []
        said = f"; not shown by itself where {self._where(*wide)}" if wide else ""
        if few:
            said += f"; too few {self.words.things} to tell where {self.terms.label} is {', '.join(_some(few))}"
        return said

    @property
    def _so_far(self) -> str:
        return f"; seen: {self._said(self.whole)}" if self.whole.seen.bounds else ""

    def _said(self, scope: Scope) -> str:
        seen = scope.seen
        if seen.bounds is None:
            return f"{seen.n:,} {self.words.things} of the canary, {seen.n_primary:,} of the primary"
        return self.words.say(seen.bounds, seen, scope.question)

    def _where(self, *scopes: Scope) -> str:
        return f"{self.terms.label} is {', '.join(_some([each.name for each in scopes]))}"


def _some(said: list[str]) -> list[str]:
    """The first few: a sentence has to stay one."""
    left = len(said) - NAMED
    return said if left <= 0 else [*said[:NAMED], f"and {left} more"]
