"""Predictions that servers told the gate of: each one once, split by segment as a check declares it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from modelpack.gate.checks.check import Evidence, Told, Value, Window
from modelpack.gate.checks.deciding import Question, Scope, Seen, Terms, Words, decide
from modelpack.gate.checks.segments import OTHERS, Segments

CANARY, PRIMARY = "canary", "primary"
LARGEST = 1e50  # a number whose fourth power still is one, and may be summed

Measure = Callable[[Sequence[Told], Question], Seen]


def distinct(told: Iterable[Told]) -> list[Told]:
    """Each request once a version: the first prediction stands, as a retry may tell another; the last label does, as a
    later one is a correction."""
    found: dict[tuple[str, str], Told] = {}
    for each in told:
        known = found.setdefault((each.id, each.role), each)
        if each.truth is not None:
            found[each.id, each.role] = replace(known, truth=each.truth)
    return list(found.values())


def judge(terms: Terms, words: Words, window: Window, told: Sequence[Told], measure: Measure) -> Evidence:
    """The evidence of a check of predictions. Labels come late by nature, and a server may tell in batches: silence is
    no answer here, the end of the horizon is."""
    question, of_each = terms.questions(window.alpha)
    scopes = [Scope("", question, measure(told, question))]
    if terms.segments:
        picked = by_segment(terms.segments, told)
        scopes += [Scope(name, of_each, measure(own, of_each)) for name, own in picked.items()]
    return decide(terms, words, replace(window, silent=0.0, unreachable=""), scopes)


def by_segment(segments: Segments, told: Sequence[Told]) -> dict[str, list[Told]]:
    """Predictions by segment; those of no declared one are the others, or left out."""
    found: dict[str, list[Told]] = {name: [] for name in segments.names(each.segment for each in told)}
    for each in told:
        name = each.segment if each.segment in found else OTHERS
        if name in found:
            found[name].append(each)
    return found


def number(value: Value | None) -> float | None:
    """A number that can be reckoned with, None for anything else. A server may say any number: one whose square is none
    would hide all others."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < LARGEST else None


def word(value: Value) -> str:
    """A class as text: 3, 3.0 and "3" are one, and so are true and "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
