"""What a pull request says: title and body, from values alone.

Versions, metric names, lineage and reports come from outside. They are shown as plain text that does nothing on any
forge, and all of it is bounded: GitHub takes 65,536 characters. What people write into the body beside ours is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from modelpack import fetch
from modelpack.errors import InputError, ModelpackError
from modelpack.gitops.change import Change, digest_of, version_of
from modelpack.gitops.evaluation import markdown as table
from modelpack.gitops.report import markdown, plain
from modelpack.oci import is_digest
from modelpack.quality.evaluation import Evaluation as Judged
from modelpack.reference import Reference
from modelpack.registry import Via

LONGEST: Final = 65_536  # characters: GitHub's limit, the smallest of all forges'
_ROOM_FOR_METRICS, _ROOM_FOR_LINEAGE = 12_000, 8_000
_BEGIN, _END = "<!-- modelpack ", "<!-- /modelpack -->"
_MARK = re.compile(rf"{_BEGIN}(\{{[^\n]{{0,1000}}\}}) -->")
_TAG = re.compile(r"(?:sha256:)?[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_INERT = re.compile(r"[A-Za-z0-9._/:+=?&%~-]{1,200}")  # shown as code: nothing in it means anything to a forge
_LINK = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.:-]*(?:/[A-Za-z0-9._~/?#%&=+,:-]*)?")
_DRAFT = re.compile(r"\s*(?:(?:draft|wip)\s*[:-]|\[(?:draft|wip)\]|\(draft\))\s*", re.IGNORECASE)
_NONE = "–"


class Kind(Enum):
    """Why another version is proposed, with what happens after the merge."""

    BUMP = (
        "The GitOps agent applies it, and Flagger sends a growing share of the traffic to {new} while the gate "
        "compares it with {old}. If the gate rejects it, all traffic returns to {old}, and Git is set back to that."
    )
    ROLLBACK = (
        "Flagger moves the traffic from {old} back to {new}, which the gate accepts once it is healthy. "
        "{old} is not rejected by that: it can be proposed again."
    )
    REVERT = (
        "Git names {new} again, which is what serves, and no rollout starts. "
        "{old} failed: it stands in rejected.yaml and is not proposed again until a person lifts that."
    )
    REJECT = (
        "{old} failed: it stands in rejected.yaml and is not proposed again until a person lifts that. "
        "Git names {new} already, and that stays."
    )


@dataclass(frozen=True)
class Evaluation:
    """What a registry knows of a version beside its bytes."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    model_digest: str = ""


@dataclass(frozen=True)
class Report:
    """What judged the version: the gate's or a rehearsal's JSON, an address where people read it, or both.

    `environment` is where it was judged, "" if that is not told.
    """

    value: Mapping[str, Any] | None = None
    link: str = ""
    environment: str = ""


NO_REPORT: Final = Report()


@dataclass(frozen=True)
class Text:
    """A pull request's words; `body` is our part of it."""

    title: str
    body: str


def evaluation_of(image: str, via: Via) -> Evaluation | None:
    """Ask the registry about an image; None where it cannot be had, which stops no proposal."""
    try:
        resolved = fetch.resolve(Reference.parse(image), via)
    except ModelpackError:
        return None
    return Evaluation(resolved.metrics, resolved.lineage, resolved.model_digest)


def link_to(text: str) -> str:
    """A report's address as given; raises InputError for what is none or holds a login."""
    if not _LINK.fullmatch(text) or len(text) > 500:
        raise InputError("--report", "is neither a file nor a plain http(s) address", "leave logins out of it")
    return text


def write(
    change: Change,
    *,
    kind: Kind = Kind.BUMP,
    environment: str = "",
    old: Evaluation | None = None,
    new: Evaluation | None = None,
    report: Report = NO_REPORT,
    judged: Judged | None = None,
) -> Text:
    """The words of one change of one model; `judged` is what the quality gate found of the new version."""
    import jinja2

    before, after = _side(change.old, old), _side(change.new, new)
    names = {"old": before["version"], "new": after["version"]}
    reported = _image_of(report.value or {})
    about = change.old if kind in (Kind.REVERT, Kind.REJECT) else change.new
    values = {
        "model": plain(change.model, 100),
        "environment": plain(environment, 100),
        "old": before,
        "new": after,
        "metrics": _within(_metrics(old or Evaluation(), new or Evaluation()), _ROOM_FOR_METRICS),
        "lineage": _within(_lineage(old or Evaluation(), new or Evaluation()), _ROOM_FOR_LINEAGE),
        "table": table(judged) if judged else "",
        "report": markdown(report.value).replace("### ", "", 1).strip() if report.value else "",
        "other": _image(reported) if digest_of(reported) not in ("", digest_of(about)) else "",
        "link": report.link,
        "judged_in": plain(report.environment, 100),
        "after": kind.value.format(**names),
    }
    template = jinja2.Environment(
        loader=jinja2.PackageLoader("modelpack.gitops", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 (the output is Markdown, and every value is escaped for it)
    ).get_template("proposal.md.j2")
    mark = {"digest": digest_of(change.new), "version": _word(change.new)}
    hidden = json.dumps(mark).replace("<", "\\u003c").replace(">", "\\u003e")  # nothing in it ends the comment
    body = f"{_BEGIN}{hidden} -->\n{template.render(values).strip()}\n{_END}"
    verb = "roll back " if kind is Kind.ROLLBACK else "back from failed " if kind is Kind.REVERT else ""
    where = f" in {environment}" if environment else ""
    was, becomes = _word(change.old), _word(change.new)
    moves = f"{was} -> {becomes}" if was != becomes else f"{becomes} -> {digest_of(change.new)[:19]}"
    does = f"reject {was}" if kind is Kind.REJECT else f"{verb}{moves}"
    return Text(f"{change.model[:63]}{where[:67]}: {does}", body)


def proposed(body: str) -> tuple[str, str]:
    """The digest and version that a body's mark names, "" where it has none. Anybody can have edited it."""
    found = _MARK.search(body)
    try:
        mark = json.loads(found[1]) if found else {}
    except (ValueError, RecursionError):
        return "", ""
    digest, version = mark.get("digest"), mark.get("version")
    return digest if isinstance(digest, str) else "", version if isinstance(version, str) else ""


def placed(there: str, ours: str) -> str:
    """A body with our part in the place of the one before; what people wrote around it stays, as far as there is room.

    A forge may have turned line ends into CRLF, and taken blanks off the end.
    """
    there = there.replace("\r\n", "\n").strip()
    mark = _MARK.search(there)
    end = there.find(_END, mark.end()) if mark else -1
    if mark and end >= 0:
        before, after = there[: mark.start()], there[end + len(_END) :]
    else:
        before, after = f"{there}\n\n" if there else "", ""
    room = LONGEST - len(ours)
    return f"{before[:room]}{ours}{after[: max(0, room - len(before))]}"


def titled(there: str, ours: str) -> str:
    """A title with ours in it; a person's mark that it is a draft stays."""
    draft = _DRAFT.match(there)
    return f"{draft[0]}{ours}" if draft else ours


def _side(image: str, known: Evaluation | None) -> dict[str, str | bool]:
    digest, model = digest_of(image), known.model_digest if known else ""
    return {
        "version": plain(version_of(image), 100) or _NONE,
        "image": _image(image.partition("@")[0]),
        "digest": _short(digest),
        "model_digest": _short(model),
        "known": known is not None,
    }


def _short(digest: str) -> str:
    """The start of a digest: whole ones make the table wider than a page, and the diff has them."""
    return f"`{digest[:19]}`" if is_digest(digest) else _NONE


def _metrics(old: Evaluation, new: Evaluation) -> Iterable[str]:
    for name in sorted({*old.metrics, *new.metrics}):
        before, after = old.metrics.get(name), new.metrics.get(name)
        change = _NONE if before is None or after is None else _number(after - before, sign="+")
        yield f"| {plain(name, 100)} | {_number(before)} | {_number(after)} | {change} |"


def _lineage(old: Evaluation, new: Evaluation) -> Iterable[str]:
    for key in sorted({*old.lineage, *new.lineage}):
        cells = (_value(each.lineage.get(key, "")) for each in (old, new))
        yield f"| {plain(key, 100)} | {' | '.join(cells)} |"


def _within(rows: Iterable[str], room: int) -> list[str]:
    kept, more = [], 0
    for row in rows:
        room -= len(row) + 1
        if room >= 0:
            kept.append(row)
        else:
            more += 1
    return [*kept, *([f"| and {more} more {'| ' * (kept[0].count(' | ') if kept else 1)}|"] if more else [])]


def _number(value: float | None, sign: str = "-") -> str:
    if value is None:
        return _NONE
    return f"{value:{sign}.{4 if sign == '+' else 6}g}".replace("-", "−")


def _value(text: str) -> str:
    if not text:
        return _NONE
    return f"`{text}`" if _INERT.fullmatch(text) else plain(text, 200)


def _image(text: str) -> str:
    """An image as code where it is one: the grammar of references has nothing that a forge would act on."""
    try:
        return f"`{Reference.parse(text)}`"
    except InputError:
        return plain(text, 300) or _NONE


def _word(image: str) -> str:
    """A version in a title, which no forge escapes and a squash merge makes a commit message."""
    version = version_of(image)
    return version if _TAG.fullmatch(version) else "another image"


def _image_of(report: Mapping[str, Any]) -> str:
    for part in (report.get("rehearsal"), report.get("rollout"), report):
        image = part.get("image") if isinstance(part, Mapping) else None
        if isinstance(image, str):
            return image
    return ""
