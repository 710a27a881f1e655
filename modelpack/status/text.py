"""A look as text of 80 columns. Whatever servers say is made harmless for a terminal here."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo

from modelpack.rollout import Phase
from modelpack.status.progress import share
from modelpack.status.view import Check, Event, Judgement, Unseen, View, short
from modelpack.text import blanked

WIDTH = 80
_LABEL = 9
_COLUMNS = (28, 16, 4, 20, 9)  # the widest that a table's columns get


def render(view: View, zone: tzinfo | None = None) -> str:
    """One Canary, for people; times in `zone`, else in the machine's."""
    return "\n".join(_lines(view, zone))


def render_table(views: Sequence[View | Unseen]) -> str:
    """Several Canaries, a line each."""
    rows = [_cells(each) for each in views]
    widths = [max(len(_cut(cell, most)) for cell in column) for most, *column in zip(_COLUMNS, *rows, strict=True)]
    lines = (
        "  ".join(f"{_cut(cell, width):<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows
    )
    problems = (f"{each.namespace}/{each.name}: {each.problem}" for each in views if isinstance(each, Unseen))
    return "\n".join([*(line.rstrip() for line in lines), *(row for each in problems for row in _row("", each))])


def _cells(view: View | Unseen) -> tuple[str, ...]:
    if isinstance(view, Unseen):
        return (plain(f"{view.namespace}/{view.name}"), "unknown", "", "", "")
    versions = _version(view.seen.primary_image)
    if view.under_way:
        versions += f" -> {_version(view.seen.canary_image)}"
    verdict = view.judged.verdict if view.judged else "no gate" if view.gate_missing else ""
    name = plain(f"{view.seen.namespace}/{view.seen.name}")
    weight = f"{share(view.seen)}%" if view.under_way else ""
    return (name, plain(view.seen.phase), weight, plain(versions), plain(verdict))


def plain(text: str) -> str:
    """One line without control characters, which a terminal might obey."""
    return " ".join(blanked(text).split())


def _lines(view: View, zone: tzinfo | None) -> Iterator[str]:
    seen = view.seen
    title = f"{seen.namespace}/{seen.name}"
    clock = datetime.fromtimestamp(view.at, zone).strftime("%H:%M:%S")
    yield f"{_cut(plain(title), WIDTH - len(clock) - 2):<{WIDTH - len(clock)}}{clock}"
    yield ""
    yield from _row("Git", _git(view))
    yield from _row("primary", f"serves {short(seen.primary_image)}" if seen.primary_image else "nothing yet")
    yield from _row("canary", _canary(view))
    yield from _row("phase", _phase(view))
    yield from _row("next", view.next.text)
    if view.judged is not None and view.judged.needs_person:
        yield from _decide(view.judged.rollout, view.gate_address)
    yield from _gate(view)
    yield from _events(view.events, view.at, zone)
    if view.events_missing:
        yield from _row("", f"the cluster's events cannot be read ({view.events_missing})")


def _phase(view: View) -> str:
    seen = view.seen
    words = [seen.phase or "no phase yet"]
    if view.under_way and seen.phase != Phase.WAITING.value:
        words.append(f"{share(seen)}% to the canary")
        if seen.analysis_iterations:
            words.append(f"iteration {seen.iterations} of {seen.analysis_iterations}")
    if seen.failed_checks:
        words.append(f"failed checks: {seen.failed_checks} of {seen.threshold}")
    return ", ".join(words)


def _git(view: View) -> str:
    git = view.git
    if git.missing:
        return git.missing
    return f"names {short(git.image)}, {view.git_says}; {git.branch} {git.commit[:7]}"


def _canary(view: View) -> str:
    image = view.seen.canary_image
    if view.under_way:
        return f"{'went back to' if view.seen.rollback else 'runs'} {short(image)}" if image else "is being started"
    gate = view.gate
    failed = gate.image if gate and gate.state == "failed" else ""
    if view.seen.phase == Phase.FAILED.value and view.seen.weight >= 100:
        return f"serves {short(image)} to all: its promotion failed half-way, the primary did not get ready"
    if view.seen.phase == Phase.FAILED.value:
        return f"nothing: {_version(failed)} was rolled back" if failed else "nothing: the last one was rolled back"
    return "nothing"


def _decide(rollout: str, address: str) -> Iterator[str]:
    label = "decide"
    if not address:
        yield from _row(label, "kubectl port-forward -n modelpack service/modelpack-gate 8080:80")
        label, address = "", "http://127.0.0.1:8080"
    yield from _row(label, f"modelpack gate approve {rollout} --gate {address} --by NAME")
    yield from _row("", f"modelpack gate reject {rollout} --gate {address} --by NAME")


def _gate(view: View) -> Iterator[str]:
    gate = view.gate
    if view.gate_missing:
        yield from _row("gate", f"cannot be reached ({view.gate_missing})")
    elif gate is None:
        yield from _row("gate", "was not asked about this Canary yet")
    if gate is None:
        return
    about = _version(gate.image)
    yield from _row("gate", f"{_verdict(gate)} {about} ({gate.rollout})")
    if gate.final or not gate.checks:
        yield from _row("", gate.reason)
    if view.gate_is_earlier:
        yield from _row("", "that is an earlier one; what the canary runs now was not judged yet")
    names = max((len(plain(each.name)) for each in gate.checks), default=0)
    for check in gate.checks:
        yield from _check(check, min(names, 16))


def _verdict(gate: Judgement) -> str:
    return f"{gate.verdict}, {gate.state}:" if gate.state != "active" else f"{gate.verdict}:"


def _check(check: Check, width: int) -> Iterator[str]:
    head = f"{_cut(plain(check.name), width):<{width}}  {_cut(plain(check.verdict), 9):<9}"
    counted = f"n {check.n}" + (f" / {check.n_primary}" if check.n_primary else "") if check.n else ""
    line = " " * _LABEL + "  ".join(part for part in (head, _numbers(check), counted) if part)
    yield _cut(line.rstrip(), WIDTH)
    if check.reason:
        yield from _row("", check.reason, indent=2)


def _numbers(check: Check) -> str:
    """The estimate with its interval, with the decimals that the interval's width deserves."""
    if check.estimate is None:
        return ""
    factor, unit = (100, " points") if check.share else (1, f" {plain(check.unit)}".rstrip())
    text = f"{factor * check.estimate:+.3g}{unit}"
    if check.low is not None and check.high is not None:
        text += f" ({factor * check.low:+.3g} to {factor * check.high:+.3g})"
    return text


def _events(events: Iterable[Event], now: float, zone: tzinfo | None) -> Iterator[str]:
    label = "events"
    today = datetime.fromtimestamp(now, zone).date()
    for event in events:
        at = datetime.fromtimestamp(event.at, zone)
        when = at.strftime("%H:%M:%S" if at.date() == today else "%m-%d %H:%M")
        said = f"the gate {event.message}" if event.source == "gate" else event.message
        yield from _row(label, f"{when} {'! ' if event.warning else ''}{said}", hang=len(when) + 1)
        label = ""


def _row(label: str, text: str, *, indent: int = 0, hang: int = 0) -> Iterator[str]:
    """A label and its text, wrapped below itself; a long text ends after four lines."""
    lines = textwrap.wrap(
        plain(text),
        WIDTH - _LABEL - indent,
        subsequent_indent=" " * hang,
        max_lines=4,
        placeholder=" …",
        break_on_hyphens=False,
    )
    for number, line in enumerate(lines or ["-"]):
        yield f"{label if not number else '':<{_LABEL}}{' ' * indent}{line}"


def _version(image: str) -> str:
    return short(image).partition(" ")[0] if image else "nothing"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
