"""What was measured of a rollout under traffic: counts in slices of its horizon, and the values of other metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from modelpack.gate.checks import Slice
from modelpack.gate.meter import Gain
from modelpack.gate.store import Store

SLOTS = 200  # slices of a rollout's horizon
VALUES = 10_000  # values of a metric that are kept: at a look every few seconds, hours
_meta = sa.MetaData()
_slices = sa.Table(
    "slices",
    _meta,
    sa.Column("rollout", sa.String, primary_key=True),
    *(sa.Column(name, sa.String, primary_key=True) for name in ("name", "segment")),
    *(sa.Column(name, sa.Integer, primary_key=True) for name in ("slot", "step")),
    sa.Column("weight", sa.Float, nullable=False),
    *(sa.Column(name, sa.String, nullable=False) for name in ("canary", "primary")),
)
_values = sa.Table(
    "measured",
    _meta,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.String, index=True, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    *(sa.Column(name, sa.Float, nullable=False) for name in ("t", "value")),
)
_ours = (_slices.c.rollout == sa.bindparam("a_rollout")) & (_slices.c.name == sa.bindparam("a_name"))
_READ = sa.select(*(_slices.c[key] for key in ("segment", "slot", "step", "weight", "canary", "primary")))
_READ = _READ.where(_ours).order_by(_slices.c.slot, _slices.c.step)
_KEY = ("rollout", "name", "segment", "slot", "step")
_here = sa.and_(*(_slices.c[key] == sa.bindparam(f"a_{key}") for key in _KEY))
_READ_ONE = sa.select(_slices.c.canary, _slices.c.primary).where(_here)
_ADD, _CHANGE = _slices.insert(), _slices.update().where(_here)


class Measurements:
    """The slices and values of all rollouts, in the gate's database. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(_meta)

    def slices(self, rollout_id: str, name: str, elapsed: float) -> dict[str, tuple[Slice, ...]]:
        """What was counted for a check, by segment; `elapsed` is how much of the horizon has passed."""
        with self._store.transaction() as connection:
            rows = connection.execute(_READ, {"a_rollout": rollout_id, "a_name": name}).all()
        # read as one text: a reader's start takes longer than such a short text
        cells = iter(json.loads(f"[{','.join(cell for row in rows for cell in row[-2:])}]"))
        found: dict[str, list[Slice]] = {}
        for segment, slot, step, weight, *_ in rows:
            end = end_of(slot)
            each = Slice(step, weight, end, next(cells), next(cells), whole=end <= elapsed)
            found.setdefault(segment, []).append(each)
        return {segment: tuple(slices) for segment, slices in found.items()}

    def add_gains(self, rollout_id: str, gains: Mapping[str, Sequence[Gain]], elapsed: float) -> None:
        """Add what each check's counters went up by to the slices of now."""
        if not gains:
            return
        slot = slot_of(elapsed)
        with self._store.writing() as connection:
            for name, gain in ((name, each) for name, several in gains.items() for each in several):
                key = dict(zip(_KEY, (rollout_id, name, gain.segment, slot, gain.step), strict=True))
                here = {f"a_{column}": value for column, value in key.items()}
                row = connection.execute(_READ_ONE, here).one_or_none()
                if row is None:
                    cells = {"canary": json.dumps(gain.canary), "primary": json.dumps(gain.primary)}
                    connection.execute(_ADD, {**key, "weight": gain.weight, **cells})
                else:
                    cells = {"canary": _sum(row.canary, gain.canary), "primary": _sum(row.primary, gain.primary)}
                    connection.execute(_CHANGE, {**here, **cells})

    def values(self, rollout_id: str, name: str, until: float) -> tuple[tuple[float, float], ...]:
        """(unix seconds, value) of a check's metric up to a time, the newest `VALUES`, newest last."""
        query = sa.select(_values.c.t, _values.c.value).where(
            _values.c.rollout == rollout_id, _values.c.name == name, _values.c.t <= until
        )
        with self._store.transaction() as connection:
            rows = connection.execute(query.order_by(_values.c.id.desc()).limit(VALUES)).all()
        return tuple((t, value) for t, value in reversed(rows))

    def add_values(self, rollout_id: str, values: Mapping[str, float], now: float) -> None:
        if not values:
            return
        with self._store.writing() as connection:
            for name, value in values.items():
                connection.execute(_values.insert().values(rollout=rollout_id, name=name, t=now, value=value))

    def forget(self, rollout_ids: Sequence[str]) -> None:
        with self._store.writing() as connection:
            for table in (_slices, _values):
                connection.execute(table.delete().where(table.c.rollout.in_(rollout_ids)))


def slot_of(elapsed: float) -> int:
    """Which slice of the horizon a time belongs to. They get longer: what is very wrong shows in the first requests,
    and `SLOTS` are enough for days."""
    return int(SLOTS * math.sqrt(max(0.0, elapsed)) + 1e-9)


def end_of(slot: int) -> float:
    """How much of the horizon has passed at a slice's end."""
    return ((slot + 1) / SLOTS) ** 2


def _sum(before: str, gained: Mapping[str, float]) -> str:
    known: dict[str, float] = json.loads(before)
    return json.dumps({cell: known.get(cell, 0.0) + gained.get(cell, 0.0) for cell in {**known, **gained}})
