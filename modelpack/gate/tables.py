"""The tables of rollouts and their evidence, SQLAlchemy Core's: one set for SQLite and PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

META = sa.MetaData()
ID = "rollouts.id"

rollouts = sa.Table(
    "rollouts",
    META,
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
canaries = sa.Table(
    "canaries",
    META,
    *(sa.Column(name, sa.String, primary_key=True) for name in ("namespace", "name")),
    sa.Column("model", sa.String, nullable=False),
)
files = sa.Table(
    "files",
    META,
    sa.Column("rollout", sa.ForeignKey(ID), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
evidence = sa.Table(
    "evidence",
    META,
    sa.Column("rollout", sa.ForeignKey(ID), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sa.Column("basis", sa.String, nullable=False),
)
answers = sa.Table(
    "answers",
    META,
    sa.Column("rollout", sa.ForeignKey(ID), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
points = sa.Table(
    "points",
    META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.ForeignKey(ID), nullable=False),
    sa.Column("name", sa.String, nullable=False),
    *(sa.Column(name, sa.Float) for name in ("t", "weight", "estimate", "low", "high", "n")),
    sa.Column("verdict", sa.String, nullable=False),
    sa.Index("points_of_check", "rollout", "name", "id"),
)
weights = sa.Table(
    "weights",
    META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.ForeignKey(ID), index=True, nullable=False),
    sa.Column("t", sa.Float, nullable=False),
    sa.Column("weight", sa.Float, nullable=False),
)
events = sa.Table(
    "events",
    META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.ForeignKey(ID), nullable=False),
    sa.Column("t", sa.Float, nullable=False),
    sa.Column("answer", sa.Integer, nullable=False),
    *(sa.Column(name, sa.String, nullable=False) for name in ("hook", "phase", "message", "reason")),
    sa.Index("events_last", "rollout", "hook", "id"),
)
