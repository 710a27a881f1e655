"""Rollouts and their evidence. A restarted gate goes on from what stands here.

Each public method is one transaction, or a part of the one that it is called in: a crash loses at most one call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from modelpack.errors import NotFoundError
from modelpack.gate import basis
from modelpack.gate import tables as t
from modelpack.gate.basis import Basis
from modelpack.gate.checks import Evidence, Window
from modelpack.gate.checks.check import Bins, Part
from modelpack.gate.database import Database
from modelpack.gate.rollouts import FAILED, Rollout
from modelpack.gate.verdict import Decision

LISTED = 100  # rollouts that a list gives
HISTORY = 400  # points of a check's history that are served; of twice as many each second one is forgotten
# made once: what each call asks for
_NEWEST = (t.rollouts.c.started.desc(), t.rollouts.c.id)
_FIELDS = [each.name for each in fields(Rollout) if each.name != "decision"]
_DECISION = [each.name for each in fields(Decision)]
_ROLLOUTS = sa.select(*(t.rollouts.c[name] for name in (*_DECISION, *_FIELDS)))
_HERE = (t.rollouts.c.namespace == sa.bindparam("a_namespace")) & (t.rollouts.c.name == sa.bindparam("a_name"))
_BY_ID = _ROLLOUTS.where(t.rollouts.c.id == sa.bindparam("an_id"))
_OPEN = _ROLLOUTS.where(t.rollouts.c.ended.is_(None)).order_by(*_NEWEST)
_OPEN_HERE = _OPEN.where(_HERE)
_EVIDENCE = sa.select(t.evidence.c.name, t.evidence.c.value).where(t.evidence.c.rollout == sa.bindparam("an_id"))
_LAST_EVENT = (
    sa.select(*(t.events.c[key] for key in ("phase", "message", "answer", "reason")))
    .where(t.events.c.rollout == sa.bindparam("an_id"), t.events.c.hook == sa.bindparam("a_hook"))
    .order_by(t.events.c.id.desc())
    .limit(1)
)
_ADD_EVENT = t.events.insert()
_WEIGHT = sa.select(t.rollouts.c.weight).where(t.rollouts.c.id == sa.bindparam("an_id"))
_SAVE = t.rollouts.update().where(t.rollouts.c.id == sa.bindparam("an_id"))
_ADD_WEIGHT = t.weights.insert()
_WEIGHTS = (
    sa.select(t.weights.c.t, t.weights.c.weight)
    .where(t.weights.c.rollout == sa.bindparam("an_id"))
    .order_by(t.weights.c.id)
)
_of_check = (t.evidence.c.rollout == sa.bindparam("an_id")) & (t.evidence.c.name == sa.bindparam("a_name"))
_ADD_EVIDENCE, _CHANGE_EVIDENCE = t.evidence.insert(), t.evidence.update().where(_of_check)
_ADD_POINT = t.points.insert()
_of_points = (t.points.c.rollout == sa.bindparam("an_id")) & (t.points.c.name == sa.bindparam("a_name"))
_POINTS = sa.select(sa.func.count()).where(_of_points)
_ranked = (
    sa.select(t.points.c.id, sa.func.row_number().over(order_by=t.points.c.id.desc()).label("n"))
    .where(_of_points)
    .subquery()
)
_HALVE = t.points.delete().where(t.points.c.id.in_(sa.select(_ranked.c.id).where(_ranked.c.n % 2 == 0)))
_WATCHED = sa.select(t.rollouts.c.namespace, t.rollouts.c.name).where(t.rollouts.c.ended.is_(None)).distinct()


@dataclass(frozen=True)
class Event:
    """A webhook call and its answer. Repetitions of a hook's last call are not kept."""

    t: float
    hook: str
    phase: str
    message: str
    answer: int
    reason: str


class Store(Database):
    """Everything the gate remembers."""

    def __init__(self, url: str) -> None:
        """`url` as `Database` has it. Raises RemoteError for what cannot be opened, InputError for other tables."""
        super().__init__(url)
        self.create(t.META)

    @classmethod
    def in_file(cls, path: Path) -> Store:
        return cls(str(sa.URL.create("sqlite", database=str(path))))

    def add(self, rollout: Rollout, files: Mapping[str, bytes]) -> None:
        """Keep a new rollout with the files that say how it is judged from now on."""
        with self.writing() as connection:
            connection.execute(t.rollouts.insert().values(_row(rollout)))
            for name, data in files.items():
                connection.execute(t.files.insert().values(rollout=rollout.id, name=name, data=data))
            connection.execute(t.weights.insert().values(rollout=rollout.id, t=rollout.started, weight=rollout.weight))

    def save(self, rollouts: Iterable[Rollout], now: float) -> None:
        """Write what became of rollouts; a changed weight is noted with its time."""
        changed = tuple(rollouts)
        if not changed:
            return
        with self.writing() as connection:
            for rollout in changed:
                here = {"an_id": rollout.id}
                before = connection.scalar(_WEIGHT, here)
                connection.execute(_SAVE, _row(rollout) | here)
                if before != rollout.weight:
                    connection.execute(_ADD_WEIGHT, {"rollout": rollout.id, "t": now, "weight": rollout.weight})

    def files(self, rollout_id: str) -> dict[str, bytes]:
        """What a rollout is judged by: its frozen gate.yaml and the files beside it."""
        query = sa.select(t.files.c.name, t.files.c.data).where(t.files.c.rollout == rollout_id)
        with self.transaction() as connection:
            return {row.name: row.data for row in connection.execute(query)}

    def rollout(self, rollout_id: str) -> Rollout | None:
        if not rollout_id.isprintable():
            return None  # PostgreSQL has no NUL in its texts
        with self.transaction() as connection:
            row = connection.execute(_BY_ID, {"an_id": rollout_id}).one_or_none()
        return _rollout(row) if row else None

    def open(self, namespace: str | None = None, name: str | None = None) -> list[Rollout]:
        """Rollouts that have not ended, of one Canary or of all."""
        with self.transaction() as connection:
            if namespace is None:
                return [_rollout(row) for row in connection.execute(_OPEN)]
            here = {"a_namespace": namespace, "a_name": name}
            return [_rollout(row) for row in connection.execute(_OPEN_HERE, here)]

    def judged(self, model: str) -> list[Rollout]:
        """A model's rollouts that have not ended and are under traffic."""
        under_traffic = _OPEN.where(t.rollouts.c.model == model, t.rollouts.c.traffic_started.is_not(None))
        with self.transaction() as connection:
            return [_rollout(row) for row in connection.execute(under_traffic)]

    def watched(self) -> set[tuple[str, str]]:
        """(namespace, name) of the Canaries that have a rollout which has not ended."""
        with self.transaction() as connection:
            return {(namespace, name) for namespace, name in connection.execute(_WATCHED)}

    def rollouts(self, **equal: Any) -> list[Rollout]:
        """The newest `LISTED` with these values in these columns; None leaves a column open."""
        return self.page(equal)[0]

    def page(
        self, equal: Mapping[str, Any], text: str = "", before: str = "", most: int = LISTED
    ) -> tuple[list[Rollout], int]:
        """Like `rollouts`, those that follow the rollout `before`, and how many fit on all pages together.

        `text` is somewhere in the id, model, namespace, name or image. Raises NotFoundError for an unknown `before`.
        """
        where = [t.rollouts.c[column] == value for column, value in equal.items() if value is not None]
        if text:
            named = (t.rollouts.c[each] for each in ("id", "model", "namespace", "name", "image"))
            where.append(sa.or_(*(each.icontains(text, autoescape=True) for each in named)))
        with self.transaction() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(t.rollouts).where(*where)) or 0
        if before:
            last = self.rollout(before)
            if last is None:
                raise NotFoundError(before, "there is no such rollout", "begin with the first page")
            later = (t.rollouts.c.started == last.started) & (t.rollouts.c.id > last.id)
            where.append((t.rollouts.c.started < last.started) | later)
        query = _ROLLOUTS.where(*where).order_by(*_NEWEST).limit(most)
        with self.transaction() as connection:
            return [_rollout(row) for row in connection.execute(query)], total

    def stamp(self, rollout_id: str) -> object:
        """What differs from before once anything of a rollout has changed; compare it, no more."""
        ours = t.evidence.c.rollout == rollout_id
        with self.transaction() as connection:
            row = connection.execute(t.rollouts.select().where(t.rollouts.c.id == rollout_id)).one_or_none()
            evidence = connection.execute(sa.select(t.evidence.c.name, t.evidence.c.value).where(ours)).all()
            event = connection.scalar(sa.select(sa.func.max(t.events.c.id)).where(t.events.c.rollout == rollout_id))
        return row and tuple(row), sorted(map(tuple, evidence)), event

    def canaries(self) -> dict[tuple[str, str], str]:
        """The model of every Canary that called and is still there, by (namespace, name)."""
        with self.transaction() as connection:
            return {(row.namespace, row.name): row.model for row in connection.execute(t.canaries.select())}

    def know(self, namespace: str, name: str, model: str) -> None:
        """Remember a Canary with its model; "" forgets it."""
        here = (t.canaries.c.namespace == namespace) & (t.canaries.c.name == name)
        with self.writing() as connection:
            connection.execute(t.canaries.delete().where(here))
            if model:
                connection.execute(t.canaries.insert().values(namespace=namespace, name=name, model=model))

    def count(self) -> dict[tuple[str, str, str, str], int]:
        """How many rollouts there were, by (namespace, name, model, state)."""
        by = (t.rollouts.c.namespace, t.rollouts.c.name, t.rollouts.c.model, t.rollouts.c.state)
        with self.transaction() as connection:
            rows = connection.execute(sa.select(*by, sa.func.count()).group_by(*by)).all()
        return {(row[0], row[1], row[2], row[3]): int(row[4]) for row in rows}

    def evidence_of_open(self) -> dict[str, dict[str, Evidence]]:
        """The latest evidence of every rollout that has not ended, by its id and the check's name."""
        query = t.evidence.select().join(t.rollouts).where(t.rollouts.c.ended.is_(None))
        found: dict[str, dict[str, Evidence]] = {}
        with self.transaction() as connection:
            for row in connection.execute(query):
                found.setdefault(row.rollout, {})[row.name] = _read_evidence(row.value)
        return found

    def evidence(self, rollout_id: str) -> dict[str, Evidence]:
        """The latest evidence of each check by name."""
        with self.transaction() as connection:
            rows = connection.execute(_EVIDENCE, {"an_id": rollout_id})
            return {row.name: _read_evidence(row.value) for row in rows}

    def add_evidence(self, rollout: Rollout, found: Mapping[str, tuple[Evidence, Window]], now: float) -> None:
        """Replace each check's evidence, with what it rests on; where its numbers changed, that is a point of its
        history."""
        before = self.evidence(rollout.id)
        with self.writing() as connection:
            for name, (evidence, window) in found.items():
                last = before.get(name)
                if last == evidence:
                    continue
                values = {"value": _write(evidence), "basis": basis.write(window, now)}
                if last is None:
                    connection.execute(_ADD_EVIDENCE, {"rollout": rollout.id, "name": name, **values})
                else:
                    connection.execute(_CHANGE_EVIDENCE, {"an_id": rollout.id, "a_name": name, **values})
                if window.pairs is not None:
                    before_it = (t.answers.c.rollout == rollout.id) & (t.answers.c.name == name)
                    connection.execute(t.answers.delete().where(before_it))
                    answers = {"rollout": rollout.id, "name": name, "data": basis.pack(window.pairs)}
                    connection.execute(t.answers.insert().values(answers))
                if last is None or replace(last, reason=evidence.reason, n_primary=evidence.n_primary) != evidence:
                    columns = {key: getattr(evidence, key) for key in ("estimate", "low", "high", "n", "verdict")}
                    point = {"rollout": rollout.id, "name": name, "t": now, "weight": rollout.weight}
                    connection.execute(_ADD_POINT, point | columns)
                    here = {"an_id": rollout.id, "a_name": name}
                    if (connection.scalar(_POINTS, here) or 0) > 2 * HISTORY:
                        connection.execute(_HALVE, here)

    def bases(self, rollout_id: str) -> dict[str, Basis]:
        """What each check's latest evidence rests on, by its name, without what was counted and told."""
        kept = sa.select(t.evidence.c.name, t.evidence.c.basis, t.answers.c.data).outerjoin(
            t.answers, (t.answers.c.rollout == t.evidence.c.rollout) & (t.answers.c.name == t.evidence.c.name)
        )
        with self.transaction() as connection:
            rows = connection.execute(kept.where(t.evidence.c.rollout == rollout_id)).all()
        found = {}
        for row in rows:
            known = basis.read(row.basis)
            pairs = None if row.data is None else basis.unpack(row.data)
            found[row.name] = replace(known, window=replace(known.window, pairs=pairs))
        return found

    def history(self, rollout_id: str, name: str) -> list[dict[str, Any]]:
        """A check's evidence over time, thinned to `HISTORY` points with the newest kept."""
        columns = [t.points.c[key] for key in ("t", "weight", "estimate", "low", "high", "n", "verdict")]
        query = sa.select(*columns).where(_of_points).order_by(t.points.c.id)
        with self.transaction() as connection:
            found = connection.execute(query, {"an_id": rollout_id, "a_name": name})
            rows = [dict(row._mapping) for row in found]
        stride = -(-len(rows) // HISTORY) or 1
        return rows[::-1][::stride][::-1]

    def weights(self, rollout_id: str) -> list[dict[str, float]]:
        with self.transaction() as connection:
            return [dict(row._mapping) for row in connection.execute(_WEIGHTS, {"an_id": rollout_id})]

    def add_event(self, rollout_id: str, event: Event) -> None:
        """Note a call, unless it repeats the last one of its hook."""
        with self.writing() as connection:
            row = connection.execute(_LAST_EVENT, {"an_id": rollout_id, "a_hook": event.hook}).one_or_none()
            if row is None or tuple(row) != (event.phase, event.message, event.answer, event.reason):
                connection.execute(_ADD_EVENT, {"rollout": rollout_id, **vars(event)})

    def forget(self, before: float, most: int) -> tuple[list[str], set[str]]:
        """Delete at most so many rollouts that ended before a time (unix seconds), but the newest of each Canary stays,
        and what failed until Git says so.

        Gives their ids, and the digests that no other rollout has.
        """
        same = t.rollouts.alias()
        here = (same.c.namespace == t.rollouts.c.namespace) & (same.c.name == t.rollouts.c.name)
        settled = (t.rollouts.c.state != FAILED) | t.rollouts.c.settled
        newest = sa.select(sa.func.max(same.c.started)).where(here).scalar_subquery()
        old = sa.select(t.rollouts.c.id, t.rollouts.c.digest).where(
            t.rollouts.c.ended < before, t.rollouts.c.started < newest, settled
        )
        with self.writing() as connection:
            rows = connection.execute(old.order_by(t.rollouts.c.ended).limit(most)).all()
            ids, digests = [row.id for row in rows], {row.digest for row in rows}
            for table in (t.files, t.evidence, t.answers, t.points, t.weights, t.events):
                connection.execute(table.delete().where(table.c.rollout.in_(ids)))
            connection.execute(t.rollouts.delete().where(t.rollouts.c.id.in_(ids)))
            left = connection.scalars(sa.select(t.rollouts.c.digest).where(t.rollouts.c.digest.in_(digests)))
            return ids, digests - set(left)

    def events(self, rollout_id: str) -> list[dict[str, Any]]:
        query = t.events.select().where(t.events.c.rollout == rollout_id).order_by(t.events.c.id.desc()).limit(1000)
        with self.transaction() as connection:
            rows: Sequence[Any] = connection.execute(query).all()
        return [{key: row._mapping[key] for key in (each.name for each in fields(Event))} for row in reversed(rows)]


def _row(rollout: Rollout) -> dict[str, Any]:
    return {name: getattr(rollout, name) for name in _FIELDS} | vars(rollout.decision)


def _rollout(row: Any) -> Rollout:
    count = len(_DECISION)
    return Rollout(**dict(zip(_FIELDS, row[count:], strict=True)), decision=Decision(*row[:count]))


def _write(evidence: Evidence) -> str:
    return json.dumps(asdict(evidence))


def _read_evidence(text: str) -> Evidence:
    entry = json.loads(text)
    entry["parts"] = tuple(Part(**each) for each in entry["parts"])
    lists = ("edges", "canary", "against")
    entry["bins"] = tuple(Bins(**{**each, **{key: tuple(each[key]) for key in lists}}) for each in entry["bins"])
    return Evidence(**{**entry, "worst": tuple(entry["worst"])})
