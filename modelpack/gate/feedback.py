"""What comes back from serving: predictions, the true values that follow them days later, alerts; and lineage.

Kept in the gate's database, bounded: the newest `MOST` predictions of a model, for `KEPT` seconds at most, of
`MOST_MODELS` models: whoever may tell predictions may make up names. What a rollout under way is judged by stays, the
first `MOST` predictions of each of its versions and their labels: a test that began anew with others at each look would
be asked more often than its chance of a false alarm allows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from modelpack.errors import RefusedError
from modelpack.gate.checks import Told
from modelpack.gate.rollouts import Rollout
from modelpack.gate.serving import Signal
from modelpack.gate.signals import Drift, Labels, Seen, Value, judge
from modelpack.gate.store import Store

MOST = 20_000
KEPT = 90 * 86400.0
MOST_MODELS = 200
MOST_ALERTS = 100
TELLING, TOLD = "telling", "told"
_meta = sa.MetaData()
_predictions = sa.Table(
    "predictions",
    _meta,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("model", "id", "version")),
    sa.Column("t", sa.Float, nullable=False, index=True),
    *(sa.Column(name, sa.String, nullable=False) for name in ("value", "segment")),
    sa.Index("predictions_of_version", "model", "version", "t"),
)
_labels = sa.Table(
    "labels",
    _meta,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("model", "id")),
    sa.Column("t", sa.Float, nullable=False, index=True),
    sa.Column("value", sa.String, nullable=False),
)
_episodes = sa.Table(
    "episodes",
    _meta,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("model", "namespace", "kind", "name")),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),  # of one that was told, until its end is told
    *(sa.Column(name, sa.String, nullable=False) for name in ("reason", "version", "told")),
)
_lineage = sa.Table(
    "lineage",
    _meta,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("document", sa.String, nullable=False),
)


@dataclass(frozen=True)
class Prediction:
    """What a server says that it answered. `version` is its tag or digest, `segment` what the request was about."""

    id: str
    version: str
    value: Value
    segment: str = ""


@dataclass(frozen=True)
class Episode:
    """A time for which a signal calls for a new model. `ended` is None while it does; unix seconds."""

    model: str
    namespace: str
    kind: str
    name: str
    reason: str
    since: float
    ended: float | None


class Feedback:
    """The gate's memory of what it is told beside Flagger's calls. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        store.create(_meta)

    def add_predictions(self, model: str, found: Iterable[Prediction]) -> int:
        """Keep predictions; gives how many are new. The first one of an id by a version stands: a retry sends it again.
        Raises RefusedError for a model beyond `MOST_MODELS`."""
        now = self._clock()
        judged = _judged(self._store.judged(model))
        with self._store.locked("told", model), self._store.writing() as connection:
            _admit(connection, _predictions, model, now)
            told = {(each.id, each.version): each for each in reversed(list(found))}
            query = sa.select(_predictions.c.id, _predictions.c.version).where(
                _predictions.c.model == model, _predictions.c.id.in_({each for each, _ in told})
            )
            known = {(row.id, row.version) for row in connection.execute(query)}
            new = [
                {"model": model, **vars(each), "t": now, "value": json.dumps(each.value)}
                for key, each in told.items()
                if key not in known
            ]
            room = {version: MOST - _count(connection, model, version, since) for version, since in judged.items()}
            kept = []
            for row in new:
                if room.setdefault(row["version"], MOST) > 0:
                    room[row["version"]] -= 1
                    kept.append(row)
            if kept:
                connection.execute(_predictions.insert(), kept)
                _prune(connection, model, now, judged)
        return len(kept)

    def told(
        self, model: str, roles: Mapping[str, str], since: float, horizon: float, until: float
    ) -> tuple[Told, ...]:
        """What was told in a time (unix seconds), oldest first, by versions that have a role; `horizon` in seconds.

        A label that came later, or was another then, is left out.
        """
        both = (_labels.c.model == _predictions.c.model) & (_labels.c.id == _predictions.c.id)
        query = (
            sa.select(_predictions, _labels.c.value.label("truth"))
            .select_from(_predictions.outerjoin(_labels, both & (_labels.c.t <= until)))
            .where(_predictions.c.model == model, _predictions.c.version.in_(roles))
            .where(_predictions.c.t.between(since, until))
            .order_by(_predictions.c.t)
        )
        with self._store.transaction() as connection:
            rows: Sequence[Any] = connection.execute(query).all()
        return tuple(
            Told(
                id=row.id,
                role=roles[row.version],
                value=json.loads(row.value),
                t=(row._mapping["t"] - since) / horizon,
                truth=None if row.truth is None else json.loads(row.truth),
                segment=row.segment,
            )
            for row in rows
        )

    def add_labels(self, model: str, found: Mapping[str, Value]) -> tuple[int, int]:
        """Keep the truth by id; gives how many are new, and for how many no prediction is known yet.

        One that comes again replaces what was said before; one that comes before its prediction waits for it.
        Raises RefusedError for a model beyond `MOST_MODELS`.
        """
        now, ids, judged = self._clock(), list(found), _judged(self._store.judged(model))
        with self._store.locked("told", model), self._store.writing() as connection:
            _admit(connection, _labels, model, now)
            known = _known(connection, _labels, model, ids)
            for each in known:
                value = json.dumps(found[each])
                here = (_labels.c.model == model) & (_labels.c.id == each) & (_labels.c.value != value)
                connection.execute(_labels.update().where(here).values(value=value, t=now))
            new = [each for each in ids if each not in known]
            if new:
                rows = [{"model": model, "id": each, "t": now, "value": json.dumps(found[each])} for each in new]
                connection.execute(_labels.insert(), rows)
                _prune(connection, model, now, judged)
            return len(new), len(set(ids) - _known(connection, _predictions, model, ids))

    def seen(self, model: str) -> list[Seen]:
        """A model's predictions, oldest first, with their labels where there are any."""
        both = (_labels.c.model == _predictions.c.model) & (_labels.c.id == _predictions.c.id)
        query = (
            sa.select(_predictions.c.t, _predictions.c.version, _predictions.c.value, _labels.c.value)
            .select_from(_predictions.outerjoin(_labels, both))
            .where(_predictions.c.model == model)
            .order_by(_predictions.c.t)
        )
        with self._store.transaction() as connection:
            rows: Sequence[Any] = connection.execute(query).all()
        return [
            Seen(t, version, json.loads(value), None if truth is None else json.loads(truth))
            for t, version, value, truth in rows
        ]

    def set_alert(self, model: str, name: str, reason: str, *, firing: bool) -> None:
        """An alert starts or ends; of one model at most `MOST_ALERTS` are kept. Raises RefusedError for a model beyond
        `MOST_MODELS`."""
        with self._store.locked("stale", model), self._store.writing() as connection:
            others = sa.select(_episodes.c.model).where(_episodes.c.kind == "alert", _episodes.c.model != model)
            if firing and len(connection.execute(others.distinct().limit(MOST_MODELS)).all()) >= MOST_MODELS:
                raise RefusedError(model, f"is one model more than the {MOST_MODELS} whose alerts are kept")
            _remember(connection, model, "", Signal(name, "alert", firing, reason), self._clock())

    def signals(
        self, model: str, specs: Sequence[Labels | Drift], measured: Sequence[Signal] = (), namespace: str = ""
    ) -> list[dict[str, Any]]:
        """Each signal with `since`, in unix seconds: when it began to call for a new model, null while it does not.

        It calls until its value is back within the limit, or another version serves: what is no longer sure, and no
        better, is no end. `measured` are those that a Prometheus answered.
        """
        now, seen = self._clock(), self.seen(model) if specs else []
        found = [*(judge(each, seen, now) for each in specs), *measured]
        if found:
            with self._store.locked("stale", model), self._store.writing() as connection:
                found = [_remember(connection, model, namespace, each, now) for each in found]
        with self._store.transaction() as connection:
            ours = (_episodes.c.model == model) & _episodes.c.namespace.in_(("", namespace))
            rows = connection.execute(_episodes.select().where(ours & _episodes.c.ended.is_(None))).all()
        since = {(row.kind, row.name): row.since for row in rows}
        alerts = [Signal(row.name, "alert", True, row.reason) for row in rows if row.kind == "alert"]
        return [
            {**vars(each), "status": each.status, "since": since.get((each.kind, each.name))}
            for each in (*found, *alerts)
        ]

    def untold(self, model: str, namespace: str) -> list[Episode]:
        """Beginnings and ends of episodes that nobody was surely told of, alerts from outside left out."""
        ours = (_episodes.c.model == model) & (_episodes.c.namespace == namespace) & (_episodes.c.kind != "alert")
        news = (_episodes.c.told != TOLD) | _episodes.c.ended.is_not(None)
        with self._store.transaction() as connection:
            rows: Sequence[Any] = connection.execute(_episodes.select().where(ours & news)).all()
        return [Episode(model, namespace, row.kind, row.name, row.reason, row.since, row.ended) for row in rows]

    def mark(self, episode: Episode, told: str) -> None:
        """How far the telling of it is: "" not at all, `TELLING`, or `TOLD`. One whose end is told is forgotten.

        What was `TELLING` when a gate was killed is told again: an alarm twice is better than none.
        """
        with self._store.writing() as connection:
            if episode.ended is None:
                connection.execute(_episodes.update().where(_at(episode)).values(told=told))
            elif told == TOLD:
                connection.execute(_episodes.delete().where(_at(episode)))

    def put_lineage(self, digest: str, document: Any) -> None:
        """Keep what is known of an image's origin, in the place of an earlier document. Raises ValueError for NaN."""
        with self._store.locked("lineage", digest), self._store.writing() as connection:
            connection.execute(_lineage.delete().where(_lineage.c.digest == digest))
            connection.execute(_lineage.insert().values(digest=digest, document=json.dumps(document, allow_nan=False)))

    def forget_lineage(self, digests: Iterable[str]) -> None:
        with self._store.writing() as connection:
            connection.execute(_lineage.delete().where(_lineage.c.digest.in_(list(digests))))

    def lineage(self, digest: str) -> Any:
        """What is known of an image's origin, None if nothing."""
        with self._store.transaction() as connection:
            text = connection.scalar(sa.select(_lineage.c.document).where(_lineage.c.digest == digest))
        return None if text is None else json.loads(text)


def _known(connection: sa.Connection, table: sa.Table, model: str, ids: Sequence[str]) -> set[str]:
    query = sa.select(table.c.id).where(table.c.model == model, table.c.id.in_(ids))
    return set(connection.scalars(query))


def _admit(connection: sa.Connection, table: sa.Table, model: str, now: float) -> None:
    """Raise RefusedError for a new model where there are `MOST_MODELS`; those that nobody told of for long are gone."""
    if connection.scalar(sa.select(table.c.id).where(table.c.model == model).limit(1)) is not None:
        return
    connection.execute(table.delete().where(table.c.t < now - KEPT))
    # one look into the index for each model, where a distinct count reads every row
    names = sa.select(sa.func.min(table.c.model).label("name")).cte("names", recursive=True)
    after = sa.select(sa.func.min(table.c.model)).where(table.c.model > names.c.name).scalar_subquery()
    names = names.union_all(sa.select(after).where(names.c.name.is_not(None)))
    if (connection.scalar(sa.select(sa.func.count(names.c.name))) or 0) >= MOST_MODELS:
        problem = f"is one model more than the {MOST_MODELS} whose {table.name} are kept"
        raise RefusedError(model, problem, f"others are forgotten {KEPT / 86400:.0f} days after their last one")


def _judged(rollouts: Iterable[Rollout]) -> dict[str, float]:
    """The versions that are being compared, and since when (unix seconds)."""
    found: dict[str, float] = {}
    for rollout in rollouts:
        for version in rollout.roles:
            since = rollout.traffic_started or 0.0
            found[version] = min(since, found.get(version, since))
    return found


def _count(connection: sa.Connection, model: str, version: str, since: float) -> int:
    p = _predictions.c
    ours = (p.model == model) & (p.version == version) & (p.t >= since)
    return connection.scalar(sa.select(sa.func.count()).select_from(_predictions).where(ours)) or 0


def _prune(connection: sa.Connection, model: str, now: float, judged: Mapping[str, float]) -> None:
    p = _predictions.c
    in_use = sa.or_(sa.false(), *((p.version == version) & (p.t >= since) for version, since in judged.items()))
    joined = _labels.c.id.in_(sa.select(p.id).where(p.model == model, in_use)) if judged else sa.false()
    for table, stays in ((_predictions, in_use), (_labels, joined)):
        free = (table.c.model == model) & ~stays
        newest = sa.select(table.c.t).where(free).order_by(table.c.t.desc()).offset(MOST).limit(1).scalar_subquery()
        connection.execute(table.delete().where(free, (table.c.t < now - KEPT) | (table.c.t <= newest)))


def _remember(connection: sa.Connection, model: str, namespace: str, found: Signal, now: float) -> Signal:
    """Begin, go on with or end an episode; the signal, which calls on while its value is beyond the limit."""
    episode = Episode(model, namespace, found.kind, found.name, found.reason, now, None)
    here = _place(episode)
    known: Any = connection.execute(_episodes.select().where(here & _episodes.c.ended.is_(None))).one_or_none()
    same = known is not None and known.version == found.version
    if found.stale or (same and (found.beyond or found.unreadable)):
        if same:
            connection.execute(_episodes.update().where(here).values(reason=found.reason))
            return replace(found, stale=True)
        ours = (_episodes.c.model == model) & (_episodes.c.kind == found.kind)
        if (connection.scalar(sa.select(sa.func.count()).where(ours)) or 0) < MOST_ALERTS:
            connection.execute(_episodes.delete().where(here))
            row = {**vars(episode), "version": found.version, "told": ""}
            connection.execute(_episodes.insert().values(row))
        return found
    if known is not None:
        connection.execute(_episodes.delete().where(here & (_episodes.c.told == "")))
        connection.execute(_episodes.update().where(here).values(ended=now))
    return found


def _place(episode: Episode) -> sa.ColumnElement[bool]:
    keys = ("model", "namespace", "kind", "name")
    return sa.and_(*(_episodes.c[key] == getattr(episode, key) for key in keys))


def _at(episode: Episode) -> sa.ColumnElement[bool]:
    """This very episode, and no later one of the same signal."""
    return sa.and_(_place(episode), _episodes.c.since == episode.since)
