"""One version's whole chain, from the data to the verdict on its rollout, as steps that people can read.

`steps_of` is pure. What comes in is anybody's (a registry's records, a gate's answer): every text is one printable line
of bounded length when it goes out, and only http and https addresses are links.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from modelpack.lineage.catalog import Version, version_at
from modelpack.lineage.origin import Origin, to_rfc3339
from modelpack.lineage.records import is_number
from modelpack.quality.evaluation import Evaluation, Row
from modelpack.reference import Reference
from modelpack.registry import Via

MOST_ROWS = 500  # of an evaluation's table
_LONGEST = 300  # characters
_MOST_FACTS = 60
_NO_ROLLOUT = "no rollout is recorded: modelpack reconcile --gate URL records those that are over"


@dataclass(frozen=True)
class Commit:
    """A commit that named the version in an environment ("" where a model has none); `at` is in unix seconds, `why` one
    of history's words, `report` an address or ""."""

    commit: str
    at: float
    environment: str
    why: str
    by: str
    reason: str = ""
    report: str = ""


@dataclass(frozen=True)
class Step:
    """One link of the chain. `kind` is data, code, run, evaluation, image, commit, rollout or verdict; `state` is good,
    bad, or none where nothing is judged or known; `links` are titles with addresses."""

    kind: str
    title: str
    state: str = "none"
    facts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Chain:
    """A version and its steps, in order. `rows` are the evaluation's; `notes` what could not be understood."""

    model: str
    version: str
    reference: str
    model_digest: str
    steps: tuple[Step, ...]
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "reference": self.reference or None,
            "modelDigest": self.model_digest or None,
            "steps": [
                {
                    "kind": each.kind,
                    "title": each.title,
                    "state": each.state,
                    "facts": [list(fact) for fact in each.facts],
                    "links": [{"title": title, "url": url} for title, url in each.links],
                }
                for each in self.steps
            ],
            "evaluation": [asdict(each) for each in self.rows],
            "notes": list(self.notes),
        }


def chain(
    reference: Reference, via: Via, *, commits: Sequence[Commit] = (), rollouts: Iterable[Mapping[str, Any]] = ()
) -> Chain:
    """What is known of the version that a reference names; `rollouts` are the gate's, beside those that are recorded.

    Raises NotFoundError if there is no such version, RemoteError if the registry does not answer.
    """
    version, notes = version_at(reference, via)
    return put_together(version, notes, commits, rollouts)


def put_together(
    version: Version,
    notes: Iterable[str] = (),
    commits: Sequence[Commit] = (),
    rollouts: Iterable[Mapping[str, Any]] = (),
) -> Chain:
    """The chain of a version that is known already."""
    known = {str(each.get("id")): each for each in (*version.rollouts, *rollouts)}
    in_order = sorted(known.values(), key=lambda each: _number(each, "started"))
    evaluation = version.evaluation
    return Chain(
        model=_line(version.model),
        version=_line(version.version),
        reference=str(version.reference or ""),
        model_digest=version.model_digest,
        steps=steps_of(version, commits, in_order),
        rows=tuple(_plain_row(each) for each in evaluation.rows[:MOST_ROWS]) if evaluation else (),
        notes=tuple(_line(each) for each in notes),
    )


def steps_of(
    version: Version, commits: Sequence[Commit], rollouts: Sequence[Mapping[str, Any]]
) -> tuple[Step, ...]:  # fmt: skip
    """Every step in order; one that nothing is known of says so."""
    judged = [step for each in rollouts for step in (_rollout(each), _verdict(each))]
    return (
        _data(version),
        _code(version.origin, version.evaluation, version.lineage),
        _run(version.origin, version.evaluation),
        _evaluation(version.evaluation, version.passed),
        _image(version),
        *([_commit(each) for each in commits] or [Step("commit", "not found in Git's history")]),
        *(judged or [Step("rollout", _NO_ROLLOUT), Step("verdict", "none yet")]),
    )


def _data(version: Version) -> Step:
    digests = version.evaluation.digests if version.evaluation else None
    facts = [("from", version.origin.data_uri if version.origin else "")]
    facts += [(f"{name} rows", digest) for name, digest in (digests or {}).items()]
    return _step("data", version.data or "not recorded", facts=facts)


def _code(origin: Origin | None, evaluation: Evaluation | None, told: Mapping[str, str]) -> Step:
    if origin is None:
        code = evaluation.code if evaluation else ""
        return _step("code", told.get("commit", "") or code or "not recorded", facts=told.items())
    facts = [("repository", origin.repository), ("branch", origin.branch), ("folder", origin.folder)]
    return _step("code", origin.commit or "not recorded", facts=[*facts, ("code version", origin.code)])


def _run(origin: Origin | None, evaluation: Evaluation | None) -> Step:
    if origin is None:
        return _step("run", (evaluation.run if evaluation else "") or "not recorded")
    facts: list[tuple[str, str]] = [
        ("why", origin.reason),
        ("started", to_rfc3339(origin.started)),
        ("ended", to_rfc3339(origin.ended)),
        ("where", origin.builder),
        ("notebook", origin.notebook),
        ("page", origin.html),
        *(
            (f"parameter {key}", each if isinstance(each, str) else json.dumps(each))
            for key, each in origin.parameters.items()
        ),
        *((f"metric {key}", f"{each:.6g}") for key, each in origin.metrics.items()),
    ]
    return _step(
        "run", origin.run or "without an id", "none", facts, [("notebook", origin.html), ("file", origin.notebook)]
    )


def _evaluation(evaluation: Evaluation | None, passed: bool | None) -> Step:
    if evaluation is None:
        return Step("evaluation", "not recorded")
    facts = [
        ("because", evaluation.reason),
        ("against", evaluation.against or "nothing: there was no current model"),
        ("confidence", f"{evaluation.confidence:.0%}"),
        ("at", to_rfc3339(evaluation.ended)),
        *((f"{each.metric}, {each.data}", difference(each)) for each in evaluation.rows if not each.group),
    ]
    return _step("evaluation", "passed" if passed else "did not pass", "good" if passed else "bad", facts)


def difference(row: Row) -> str:
    """A row in a few words: `1.9, was 2.1 (-0.5 to +0.1)`."""
    if row.new is None:
        return "not known"
    was = f", was {row.old:.4g}" if row.old is not None else ""
    interval = f" ({row.low:+.3g} to {row.high:+.3g})" if row.low is not None and row.high is not None else ""
    return f"{row.new:.4g}{was}{interval}"


def _image(version: Version) -> Step:
    if version.reference is None:
        return Step("image", "not packaged")
    return _step("image", str(version.reference), facts=[("model digest", version.model_digest)])


def _commit(commit: Commit) -> Step:
    facts = [
        ("environment", commit.environment),
        ("at", to_rfc3339(commit.at)),
        ("why", commit.why),
        ("by", commit.by),
        ("reason", commit.reason),
    ]
    return _step("commit", commit.commit, "none", facts, [("report", commit.report)])


def _rollout(rollout: Mapping[str, Any]) -> Step:
    keys = ("namespace", "name", "image", "primary_image", "phase", "state")
    facts = [(key.replace("_", " "), _text(rollout, key)) for key in keys]
    facts += [(key, to_rfc3339(_number(rollout, key))) for key in ("started", "ended")]
    return _step("rollout", _text(rollout, "id") or "without an id", facts=facts)


def _verdict(rollout: Mapping[str, Any]) -> Step:
    verdict, state = _text(rollout, "verdict"), _text(rollout, "state")
    good = {"promoted": "good", "failed": "bad"}.get(state) or {"reject": "bad"}.get(verdict, "none")
    checks = rollout.get("checks")
    facts = [("because", _text(rollout, "reason"))]
    for each in checks if isinstance(checks, list) else ():
        if isinstance(each, Mapping):
            facts.append((f"check {_text(each, 'name')}", f"{_text(each, 'verdict')}: {_text(each, 'reason')}"))
    title = f"{verdict or 'none yet'}, {state}" if state else verdict or "none yet"
    return _step("verdict", title, good, facts)


def _step(
    kind: str,
    title: str,
    state: str = "none",
    facts: Iterable[tuple[str, str]] = (),
    links: Iterable[tuple[str, str]] = (),
) -> Step:
    told = [(_line(key), _line(each)) for key, each in facts if each]
    followed = tuple((name, url) for name, url in links if _is_web(url))
    return Step(kind, _line(title), state, tuple(told[:_MOST_FACTS]), followed)


def _line(text: str) -> str:
    """One printable line: what comes from others must not move a terminal's cursor or fill its screen."""
    flat = "".join(each if each.isprintable() else "�" for each in " ".join(text.split()))
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"


def _plain_row(row: Row) -> Row:
    texts = {key: _line(getattr(row, key)) for key in ("data", "group", "metric", "verdict", "reason")}
    return Row(**{**vars(row), **texts})


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and url.isprintable() and len(url) <= 2000


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _number(value: Mapping[str, Any], key: str) -> float:
    found = value.get(key)
    return float(found) if is_number(found) and abs(found) < 1e12 else 0.0  # type: ignore[arg-type]
