"""A report's checks judged again, by nothing but its JSON: what a reviewer would do."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from modelpack.gate.checks import Check, Evidence, Slice, Told, Window
from modelpack.gate.checks.check import Pair, Reply
from modelpack.gate.config import parse

SHOWN = ("verdict", "reason", "estimate", "low", "high", "n", "n_primary", "canary", "primary")


def again(report: Any) -> dict[str, Evidence]:
    """What each check says of its part of the report's basis, by its name."""
    files = {name: each["text"].encode() for name, each in report["files"].items()}
    return {each.name: _judged(each, report["basis"][each.name]) for each in parse(files, "report").checks}


def shown(evidence: Any) -> dict[str, Any]:
    """The numbers and words of evidence, or of a check as the gate's JSON has it."""
    values = evidence if isinstance(evidence, dict) else vars(evidence)
    parts = [each if isinstance(each, dict) else vars(each) for each in values["parts"]]
    return {**{key: values[key] for key in SHOWN}, "parts": parts}


def _judged(check: Check, basis: dict[str, Any]) -> Evidence:
    given = {each.name: basis[each.name] for each in fields(Window)}
    given["slices"] = {name: tuple(Slice(**each) for each in several) for name, several in basis["slices"].items()}
    given["told"] = tuple(Told(**each) for each in basis["told"])
    given["values"] = tuple((t, float(value)) for t, value in basis["values"])
    if basis["pairs"] is not None:
        given["pairs"] = tuple(
            Pair(each["id"], Reply(**each["canary"]), Reply(**each["primary"])) for each in basis["pairs"]
        )
    return check.evaluate(Window(**given))
