"""A report as people read it in a pull request: the gate's JSON, or a rehearsal's report.json, as Markdown.

Names and reasons come from whoever trained the model or answered the canary. They are shown as plain text: no markup,
no links, nobody is mentioned, no issue is closed, no quick action is taken.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from modelpack.errors import InputError
from modelpack.forge.text import harmless
from modelpack.gitops.change import version_of

LONGEST: Final = 30_000  # characters; GitHub takes 65,536 a comment, and a pull request's body says other things too
_NONE = "–"
_MARKUP = re.compile(r"[&<>\"'`*_\[\]|\\~$^=]")
# A forge reads mentions, references and links in the text that is shown, and closing words in the text as written.
# A zero-width space, written as an entity, ends both.
_BREAK = "&#8203;"
_TRIGGER = re.compile(r"[@#!%:~&$^](?=\S)|\b(?:www|GH|GL)(?=[.-])", re.IGNORECASE)
_CLOSING = re.compile(r"\b(c|f|r|i)(?=(?:los|ix|esolv|eopen|mplement)(?:e[sd]?|s|ed|es|ing)?\b)", re.IGNORECASE)
_ENTITY = re.compile(r"&#(\d+);")
# After a NUL: something to Markdown, wherever in a line. Inside of a word _ is nothing.
_MEANS = re.compile(r"\0(?=[\\`*\[|~]|(?<!\w\0)_|_(?!\w)|<[\w/!?]|&#?\w+;)")
_LINK = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.:-]*(?:/[A-Za-z0-9._~/?#%&=+,:-]*)?")

_VERDICTS = {
    "pending": "⏳ pending",
    "undecided": "⏳ undecided",
    "hold": "✋ held",
    "accept": "✅ accepted",
    "reject": "❌ rejected",
}
_STATES = {"promoted": "promoted", "failed": "failed", "superseded": "superseded", "withdrawn": "withdrawn"}
_RESULTS = (
    "initialized",
    "unchanged",
    "promoted",
    "rolled back",
    "failed before",
    "held",
    "timed out",
)


def parse(data: bytes, name: str) -> Mapping[str, Any]:
    """Read a report's bytes; `name` is what messages call it. Raises InputError if it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(name, "is not JSON", "give a rehearsal's report.json, or a rollout of the gate") from error
    if not isinstance(value, dict) or not (_rollout(value) or _mapping(value, "rehearsal")):
        raise InputError(
            name, "is not a report", "give a rehearsal's report.json, or a rollout of the gate (/api/v1/rollouts/ID)"
        )
    return value


def brief(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report without what grows with time: small enough to be handed from one job of a pipeline to the next."""
    rollout = dict(_rollout(report))
    checks = rollout.get("checks")
    if isinstance(checks, list):
        rollout["checks"] = [_without(each, "history") for each in checks if isinstance(each, Mapping)]
    rehearsal = _without(_mapping(report, "rehearsal"), "transitions")
    return {"rehearsal": rehearsal or None, "rollout": _without(rollout, "weights", "events", "golden") or None}


def model_of(report: Mapping[str, Any]) -> str:
    """The model that a report is about, "" if it does not say."""
    return _string(_rollout(report), "model") or _string(_mapping(report, "rehearsal"), "model")


def markdown(report: Mapping[str, Any], link: str = "") -> str:
    """A report in Markdown, LONGEST characters at most: how it ended, from which version to which, and every check.

    `report` is a rehearsal's report.json or a rollout as the gate's API gives it; what is missing or strange in it is
    left out. `link` leads to more; what is not a plain http(s) URL is left out too.
    """
    rollout, rehearsal = _rollout(report), _mapping(report, "rehearsal")
    new = _string(rehearsal, "image") or _string(rollout, "image")
    old = _string(rollout, "primary_image") or _string(rehearsal, "primaryImage")
    versions = plain(version_of(new), 100) or "a version"
    if old and old != new:
        versions = f"{plain(version_of(old), 100)} → {versions}"
    reason = plain(_string(rollout, "reason"), 600)
    lines = [
        f"### Model {plain(model_of(report), 100) or 'report'}: {versions}",
        "",
        f"**{_ending(rollout, rehearsal)}**{f': {reason}' if reason else ''}",
    ]
    if found := table(rollout):
        lines += ["", found]
    if found and (basis := _basis(rollout)):
        lines += ["", basis]
    if notes := _notes(rehearsal, link):
        lines += ["", notes]
    return "\n".join(lines) + "\n"


def readable(report: Mapping[str, Any], link: str = "") -> str:
    """`markdown` for a terminal and a commit message: characters are written as themselves, with a backslash where
    Markdown would take one for more. What a forge acts on in a commit message is broken without being seen."""
    text = _ENTITY.sub(lambda found: f"\0{chr(int(found[1]))}", markdown(report, link).replace(_BREAK, ""))
    return harmless(_MEANS.sub(r"\\", text).replace("\0", ""))


def table(rollout: Mapping[str, Any]) -> str:
    """The checks of a rollout as a Markdown table without a final newline, "" if there are none."""
    checks = rollout.get("checks")
    rows = [_row(check) for check in checks if isinstance(check, Mapping)] if isinstance(checks, Sequence) else []
    if not rows:
        return ""
    head = ["| Check | What | Canary | Primary | Difference | Of | Verdict |", "|:--|:--|--:|--:|--:|--:|:--|"]
    room, kept = LONGEST - 4_000, 0  # what else a report says is shorter than that
    for row in rows:
        room -= len(row) + 1
        if room < 0:
            break
        kept += 1
    more = len(rows) - kept
    return "\n".join([*head, *rows[:kept], *([f"| and {more} more | | | | | | |"] if more else [])])


def plain(text: str, longest: int) -> str:
    """Text from outside as one line of Markdown that shows it as it is and does nothing; cut after `longest`."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * longest]).split())
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    line = _CLOSING.sub("\\1\0", _TRIGGER.sub("\\g<0>\0", line))
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", line).replace("\0", _BREAK)


def _ending(rollout: Mapping[str, Any], rehearsal: Mapping[str, Any]) -> str:
    result, state, verdict = _string(rehearsal, "result"), _string(rollout, "state"), _string(rollout, "verdict")
    if result in _RESULTS:
        return f"Rehearsal: {result}"
    if state == "failed" and verdict == "reject":
        return "Rolled back"
    return _STATES.get(state, "").capitalize() or _VERDICTS.get(verdict, "No verdict")


def _basis(rollout: Mapping[str, Any]) -> str:
    """Which digest was judged, and how likely the verdict is wrong, as far as the report says so."""
    budget, digest = _string(rollout, "budget"), _string(rollout, "image").partition("@")[2]
    named = f"Rollout {plain(_string(rollout, 'id'), 100)} of {plain(digest, 100)}." if budget and digest else ""
    return " ".join(filter(None, [named, plain(budget, 1000)]))


def _row(check: Mapping[str, Any]) -> str:
    share = check.get("share") is True  # 0 to 1, written in percent; their differences in points
    unit = " %" if share else f" {plain(_string(check, 'unit'), 20)}".rstrip()
    cells = (
        plain(_string(check, "name"), 100),
        plain(_string(check, "measures"), 100),
        _own(check, share, unit) if _string(check, "type") == "slo" else _value(check.get("canary"), share, unit),
        _value(check.get("primary"), share, unit),
        _difference(check, share, unit),
        _sample(check),
        _VERDICTS.get(_string(check, "verdict"), _NONE),
    )
    return f"| {' | '.join(cells)} |"


def _sample(check: Mapping[str, Any]) -> str:
    """How many were looked at, and how many are needed where there are too few."""
    n, needed = _known(check.get("n")), _known(check.get("min_sample"))
    if n is None:
        return _NONE
    words = plain(_string(check, "counts"), 30)
    return f"{n:.0f}{f' of {needed:.0f}' if needed is not None and n < needed else ''} {words}".rstrip()[:80]


def _difference(check: Mapping[str, Any], share: bool, unit: str) -> str:
    """Canary minus primary with its interval, in the decimals that the interval's width deserves; or how far apart they
    are, where that has no sign."""
    kind = _string(check, "type")
    if kind == "slo":
        return _NONE
    if kind == "drift" or (kind == "shadow" and share):
        return _own(check, share, unit)
    return _interval(check, 100 if share else 1, " points" if share else unit, _signed)


def _own(check: Mapping[str, Any], share: bool, unit: str) -> str:
    """A number that is not a difference, with its interval."""
    return _interval(check, 100 if share else 1, unit, lambda value, digits: _signed(value, digits).removeprefix("+"))


def _interval(check: Mapping[str, Any], factor: int, unit: str, write: Callable[[float, int], str]) -> str:
    """The estimate with its interval; a side that is not known is open."""
    estimate, low, high = (_known(check.get(key)) for key in ("estimate", "low", "high"))
    if estimate is None:
        return _NONE
    size = abs(estimate) if low is None or high is None else max(high - low, abs(estimate) / 10)
    digits = max(1, _decimals(size * factor))
    text = f"{write(estimate * factor, digits)}{unit}"
    sides = [None if each is None else write(each * factor, digits) for each in (low, high)]
    if sides[0] is None or sides[1] is None:
        return text + (f" ({sides[0]} or more)" if sides[0] else f" ({sides[1]} or less)" if sides[1] else "")
    return f"{text} ({sides[0]} to {sides[1]})"


def _value(value: object, share: bool, unit: str) -> str:
    known = _known(value)
    return _NONE if known is None else f"{_number(known * 100 if share else known)}{unit}"


def _number(value: object) -> str:
    """Three significant digits at least, as few as tell it."""
    known = _known(value)
    if known is None:
        return _NONE
    if abs(known) >= 1e9:
        return f"{known:.3g}".replace("-", "−")
    text = f"{known:.{min(4, _decimals(abs(known)) + 1)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def _signed(value: float, digits: int) -> str:
    text = f"{value:+.3g}" if abs(value) >= 1e9 else f"{value:+.{digits}f}"
    return text.replace("-", "−")


def _decimals(size: float) -> int:
    """Two significant digits of a quantity of this size, four decimals at most."""
    return max(0, min(4, 1 - math.floor(math.log10(size)))) if 0 < size < math.inf else 0


def _notes(rehearsal: Mapping[str, Any], link: str) -> str:
    traffic = _mapping(rehearsal, "traffic")
    sent, failed, seconds = (
        _known(each) for each in (traffic.get("sent"), traffic.get("failed"), rehearsal.get("seconds"))
    )
    commit = _string(rehearsal, "commit")
    notes = [
        f"rehearsed commit {commit[:12]}" if re.fullmatch(r"[0-9a-f]{40,64}", commit) else "",
        f"{_number(sent)} requests, {_number(failed)} failed" if sent and failed is not None else "",
        f"{_number(seconds)} s" if seconds is not None else "",
        f"[more]({link})" if len(link) <= 500 and _LINK.fullmatch(link) else "",
    ]
    return " · ".join(filter(None, notes))


def _rollout(report: Mapping[str, Any]) -> Mapping[str, Any]:
    return report if "checks" in report else _mapping(report, "rollout")


def _without(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: each for key, each in value.items() if key not in keys}


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _string(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _known(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
