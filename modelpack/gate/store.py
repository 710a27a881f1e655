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
from modelpack.gate.basis import Basis
from modelpack.gate.checks import Evidence, Window
from modelpack.gate.checks.check import Bins, Part
from modelpack.gate.database import Database
from modelpack.gate.rollouts import FAILED, Rollout
from modelpack.gate.verdict import Decision

LISTED = 100  # rollouts that a list gives
HISTORY = 400  # points of a check's history that are served; of twice as many each second one is forgotten
_meta = sa.MetaData()
_ID = "rollouts.id"

_rollouts = sa.Table(
    "rollouts",
    _meta,
    sa.Column("id", sa.String, primary_key=True),
    *(sa.Column(name, sa.String, nullable=False) for name in ("namespace", "name")),
    *(sa.Column(name, sa.String, nullable=False, index=True) for name in ("model", "state")),
    *(sa.Column(name, sa.String, nullable=False) for name in ("checksum", "digest", "image", "primary_image", "phase")),
    *(sa.Column(name, sa.Float, nullable=False) for name in ("weight", "started", "bound", "horizon", "alpha")),
    *(sa.Column(name, sa.Float) for name in ("ended", "traffic_started")),
    sa.Column("rollback", sa.Boolean, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False),
    sa.Column("settled_note", sa.String, nullable=False),
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("final", sa.Boolean, nullable=False),
    sa.Column("approved", sa.String, nullable=False),
    sa.Index("rollouts_open", "ended", "namespace", "name", "started"),
    sa.Index("rollouts_of_canary", "namespace", "name", "started"),
)
_canaries = sa.Table(
    "canaries",
    _meta,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("namespace", "name")),
    sa.Column("model", sa.String, nullable=False),
)
_files = sa.Table(
    "files",
    _meta,
    sa.Column("rollout", sa.ForeignKey(_ID), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
_evidence = sa.Table(
    "evidence",
    _meta,
    sa.Column("rollout", sa.ForeignKey(_ID), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sa.Column("basis", sa.String, nullable=False),
)
_answers = sa.Table(
    "answers",
    _meta,
    sa.Column("rollout", sa.ForeignKey(_ID), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
_points = sa.Table(
    "points",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.ForeignKey(_ID), nullable=False),
    sa.Column("name", sa.String, nullable=False),
    *(sa.Column(name, sa.Float) for name in ("t", "weight", "estimate", "low", "high", "n")),
    sa.Column("verdict", sa.String, nullable=False),
    sa.Index("points_of_check", "rollout", "name", "id"),
)
_weights = sa.Table(
    "weights",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.ForeignKey(_ID), index=True, nullable=False),
    sa.Column("t", sa.Float, nullable=False),
    sa.Column("weight", sa.Float, nullable=False),
)
_events = sa.Table(
    "events",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.ForeignKey(_ID), nullable=False),
    sa.Column("t", sa.Float, nullable=False),
    sa.Column("answer", sa.Integer, nullable=False),
    *(sa.Column(name, sa.String, nullable=False) for name in ("hook", "phase", "message", "reason")),
    sa.Index("events_last", "rollout", "hook", "id"),
)

# made once: what each call asks for
_NEWEST = (_rollouts.c.started.desc(), _rollouts.c.id)
_FIELDS = [each.name for each in fields(Rollout) if each.name != "decision"]
_DECISION = [each.name for each in fields(Decision)]
_ROLLOUTS = sa.select(*(_rollouts.c[name] for name in (*_DECISION, *_FIELDS)))
_HERE = (_rollouts.c.namespace == sa.bindparam("a_namespace")) & (_rollouts.c.name == sa.bindparam("a_name"))
_BY_ID = _ROLLOUTS.where(_rollouts.c.id == sa.bindparam("an_id"))
_OPEN = _ROLLOUTS.where(_rollouts.c.ended.is_(None)).order_by(*_NEWEST)
_OPEN_HERE = _OPEN.where(_HERE)
_EVIDENCE = sa.select(_evidence.c.name, _evidence.c.value).where(_evidence.c.rollout == sa.bindparam("an_id"))
_LAST_EVENT = (
    sa.select(*(_events.c[key] for key in ("phase", "message", "answer", "reason")))
    .where(_events.c.rollout == sa.bindparam("an_id"), _events.c.hook == sa.bindparam("a_hook"))
    .order_by(_events.c.id.desc())
    .limit(1)
)
_ADD_EVENT = _events.insert()
_WEIGHT = sa.select(_rollouts.c.weight).where(_rollouts.c.id == sa.bindparam("an_id"))
_SAVE = _rollouts.update().where(_rollouts.c.id == sa.bindparam("an_id"))
_ADD_WEIGHT = _weights.insert()
_WEIGHTS = (
    sa.select(_weights.c.t, _weights.c.weight)
    .where(_weights.c.rollout == sa.bindparam("an_id"))
    .order_by(_weights.c.id)
)
_of_check = (_evidence.c.rollout == sa.bindparam("an_id")) & (_evidence.c.name == sa.bindparam("a_name"))
_ADD_EVIDENCE, _CHANGE_EVIDENCE = _evidence.insert(), _evidence.update().where(_of_check)
_ADD_POINT = _points.insert()
_of_points = (_points.c.rollout == sa.bindparam("an_id")) & (_points.c.name == sa.bindparam("a_name"))
_POINTS = sa.select(sa.func.count()).where(_of_points)
_ranked = (
    sa.select(_points.c.id, sa.func.row_number().over(order_by=_points.c.id.desc()).label("n"))
    .where(_of_points)
    .subquery()
)
_HALVE = _points.delete().where(_points.c.id.in_(sa.select(_ranked.c.id).where(_ranked.c.n % 2 == 0)))
_WATCHED = sa.select(_rollouts.c.namespace, _rollouts.c.name).where(_rollouts.c.ended.is_(None)).distinct()


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
        self.create(_meta)

    @classmethod
    def in_file(cls, path: Path) -> Store:
        return cls(str(sa.URL.create("sqlite", database=str(path))))

    def add(self, rollout: Rollout, files: Mapping[str, bytes]) -> None:
        """Keep a new rollout with the files that say how it is judged from now on."""
        with self.writing() as connection:
            connection.execute(_rollouts.insert().values(_row(rollout)))
            for name, data in files.items():
                connection.execute(_files.insert().values(rollout=rollout.id, name=name, data=data))
            connection.execute(_weights.insert().values(rollout=rollout.id, t=rollout.started, weight=rollout.weight))

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
        query = sa.select(_files.c.name, _files.c.data).where(_files.c.rollout == rollout_id)
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
        under_traffic = _OPEN.where(_rollouts.c.model == model, _rollouts.c.traffic_started.is_not(None))
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
        where = [_rollouts.c[column] == value for column, value in equal.items() if value is not None]
        if text:
            named = (_rollouts.c[each] for each in ("id", "model", "namespace", "name", "image"))
            where.append(sa.or_(*(each.icontains(text, autoescape=True) for each in named)))
        with self.transaction() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(_rollouts).where(*where)) or 0
        if before:
            last = self.rollout(before)
            if last is None:
                raise NotFoundError(before, "there is no such rollout", "begin with the first page")
            later = (_rollouts.c.started == last.started) & (_rollouts.c.id > last.id)
            where.append((_rollouts.c.started < last.started) | later)
        query = _ROLLOUTS.where(*where).order_by(*_NEWEST).limit(most)
        with self.transaction() as connection:
            return [_rollout(row) for row in connection.execute(query)], total

    def stamp(self, rollout_id: str) -> object:
        """What differs from before once anything of a rollout has changed; compare it, no more."""
        ours = _evidence.c.rollout == rollout_id
        with self.transaction() as connection:
            row = connection.execute(_rollouts.select().where(_rollouts.c.id == rollout_id)).one_or_none()
            evidence = connection.execute(sa.select(_evidence.c.name, _evidence.c.value).where(ours)).all()
            event = connection.scalar(sa.select(sa.func.max(_events.c.id)).where(_events.c.rollout == rollout_id))
        return row and tuple(row), sorted(map(tuple, evidence)), event

    def canaries(self) -> dict[tuple[str, str], str]:
        """The model of every Canary that called and is still there, by (namespace, name)."""
        with self.transaction() as connection:
            return {(row.namespace, row.name): row.model for row in connection.execute(_canaries.select())}

    def know(self, namespace: str, name: str, model: str) -> None:
        """Remember a Canary with its model; "" forgets it."""
        here = (_canaries.c.namespace == namespace) & (_canaries.c.name == name)
        with self.writing() as connection:
            connection.execute(_canaries.delete().where(here))
            if model:
                connection.execute(_canaries.insert().values(namespace=namespace, name=name, model=model))

    def count(self) -> dict[tuple[str, str, str, str], int]:
        """How many rollouts there were, by (namespace, name, model, state)."""
        by = (_rollouts.c.namespace, _rollouts.c.name, _rollouts.c.model, _rollouts.c.state)
        with self.transaction() as connection:
            rows = connection.execute(sa.select(*by, sa.func.count()).group_by(*by)).all()
        return {(row[0], row[1], row[2], row[3]): int(row[4]) for row in rows}

    def evidence_of_open(self) -> dict[str, dict[str, Evidence]]:
        """The latest evidence of every rollout that has not ended, by its id and the check's name."""
        query = _evidence.select().join(_rollouts).where(_rollouts.c.ended.is_(None))
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
                    before_it = (_answers.c.rollout == rollout.id) & (_answers.c.name == name)
                    connection.execute(_answers.delete().where(before_it))
                    answers = {"rollout": rollout.id, "name": name, "data": basis.pack(window.pairs)}
                    connection.execute(_answers.insert().values(answers))
                if last is None or replace(last, reason=evidence.reason, n_primary=evidence.n_primary) != evidence:
                    columns = {key: getattr(evidence, key) for key in ("estimate", "low", "high", "n", "verdict")}
                    point = {"rollout": rollout.id, "name": name, "t": now, "weight": rollout.weight}
                    connection.execute(_ADD_POINT, point | columns)
                    here = {"an_id": rollout.id, "a_name": name}
                    if (connection.scalar(_POINTS, here) or 0) > 2 * HISTORY:
                        connection.execute(_HALVE, here)

    def bases(self, rollout_id: str) -> dict[str, Basis]:
        """What each check's latest evidence rests on, by its name, without what was counted and told."""
        kept = sa.select(_evidence.c.name, _evidence.c.basis, _answers.c.data).outerjoin(
            _answers, (_answers.c.rollout == _evidence.c.rollout) & (_answers.c.name == _evidence.c.name)
        )
        with self.transaction() as connection:
            rows = connection.execute(kept.where(_evidence.c.rollout == rollout_id)).all()
        found = {}
        for row in rows:
            known = basis.read(row.basis)
            pairs = None if row.data is None else basis.unpack(row.data)
            found[row.name] = replace(known, window=replace(known.window, pairs=pairs))
        return found

    def history(self, rollout_id: str, name: str) -> list[dict[str, Any]]:
        """A check's evidence over time, thinned to `HISTORY` points with the newest kept."""
        columns = [_points.c[key] for key in ("t", "weight", "estimate", "low", "high", "n", "verdict")]
        query = sa.select(*columns).where(_of_points).order_by(_points.c.id)
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
        same = _rollouts.alias()
        here = (same.c.namespace == _rollouts.c.namespace) & (same.c.name == _rollouts.c.name)
        settled = (_rollouts.c.state != FAILED) | _rollouts.c.settled
        newest = sa.select(sa.func.max(same.c.started)).where(here).scalar_subquery()
        old = sa.select(_rollouts.c.id, _rollouts.c.digest).where(
            _rollouts.c.ended < before, _rollouts.c.started < newest, settled
        )
        with self.writing() as connection:
            rows = connection.execute(old.order_by(_rollouts.c.ended).limit(most)).all()
            ids, digests = [row.id for row in rows], {row.digest for row in rows}
            for table in (_files, _evidence, _answers, _points, _weights, _events):
                connection.execute(table.delete().where(table.c.rollout.in_(ids)))
            connection.execute(_rollouts.delete().where(_rollouts.c.id.in_(ids)))
            left = connection.scalars(sa.select(_rollouts.c.digest).where(_rollouts.c.digest.in_(digests)))
            return ids, digests - set(left)

    def events(self, rollout_id: str) -> list[dict[str, Any]]:
        query = _events.select().where(_events.c.rollout == rollout_id).order_by(_events.c.id.desc()).limit(1000)
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
