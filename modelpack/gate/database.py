"""The gate's database: SQLite in a file, or a PostgreSQL that several gates share. Transactions, locks, who watches.

The statements are SQLAlchemy Core's, one set for both. SQLite is for one gate; its locks are this process's. In
PostgreSQL locks are advisory ones that end with their transaction, and one gate at a time has the lease: it watches and
measures.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from modelpack.errors import InputError, ModelpackError, RemoteError

LOCK_TIMEOUT = 3.0  # seconds; with one reading of the Canary less than the 10 s that Flagger waits
HUNG = 20.0  # seconds in a transaction without a statement after which PostgreSQL ends it
QUEUED = 60.0  # seconds that a write to SQLite waits for those before it; each takes less than a millisecond
LEASE = 10.0  # seconds without a sign of life after which another gate watches
_CONNECTIONS = 24  # of one gate; PostgreSQL allows 100 unless told otherwise
_STATEMENT = 6.0  # seconds for one statement, a wait for a lock included
# libpq's: seconds until a connection, and until one that says nothing any more is given up (the last in milliseconds)
_NETWORK = {
    "connect_timeout": 3,
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 7000,
}
_TAKEN = "55P03"  # PostgreSQL's lock_not_available
_POSTGRES = "postgresql+psycopg"
_meta = sa.MetaData()
_leases = sa.Table(
    "leases",
    _meta,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("until", sa.Float, nullable=False),  # by the database's clock
)
_WATCHER = "watcher"


class DatabaseError(RemoteError):
    """The database failed; nothing of its transaction stays."""


class Database:
    """Safe to use from several threads. A transaction inside another of the same thread is a part of it."""

    def __init__(self, url: str) -> None:
        """`url` is SQLAlchemy's, and may hold a password: no message has it. Contacts nobody yet. Raises InputError."""
        self._term = secrets.token_hex(8)
        self._here = threading.local()
        self._finding = threading.Lock()
        self._locks: WeakValueDictionary[tuple[str, ...], threading.Lock] = WeakValueDictionary()
        try:
            address = sa.make_url(url)
            if address.drivername == "postgresql":
                address = address.set(drivername=_POSTGRES)
            if address.drivername not in ("sqlite", _POSTGRES):
                raise InputError("the database", f"{address.drivername!r} is not supported", f"use {_POSTGRES}://…")
            options: dict[str, Any] = {"pool_size": _CONNECTIONS, "pool_timeout": LOCK_TIMEOUT, "max_overflow": 0}
            if address.drivername == _POSTGRES:
                options |= {"pool_pre_ping": True, "connect_args": _NETWORK}
            self._engine = self._writer = sa.create_engine(address, **options)
            self.shared = self._engine.dialect.name == "postgresql"
            if not self.shared:
                self._writer = sa.create_engine(address, pool_size=1, max_overflow=0, pool_timeout=QUEUED)
        except (ArgumentError, ValueError) as error:
            raise InputError("the database's address", "cannot be read", f"use {_POSTGRES}://…") from error
        except ModuleNotFoundError as error:
            remedy = "run pip install 'modelpack-delivery[postgres]'"
            raise InputError("the database", f"needs {error.name}", remedy) from error
        sa.event.listen(self._writer, "connect", _tune_shared if self.shared else _tune)
        if not self.shared:
            sa.event.listen(self._engine, "connect", _tune_reader)

    @property
    def name(self) -> str:
        """What it is called in messages, without a password."""
        return str(self._engine.url.database if not self.shared else self._engine.url.render_as_string())

    def create(self, meta: sa.MetaData) -> None:
        """Make the tables that are not there. Raises RemoteError for what cannot be opened, InputError for others."""
        try:
            with self.locked("tables"), self.writing() as connection:
                for each in (meta, _meta):
                    each.create_all(connection)
                seen = sa.inspect(connection)
                fits = all(
                    {each["name"] for each in seen.get_columns(table.name)} == set(table.c.keys())
                    for table in meta.sorted_tables
                )
        except DatabaseError as error:
            raise RemoteError(self.name, f"cannot be opened: {error.problem.removeprefix('failed: ')}") from error
        if not fits:
            raise InputError(
                self.name, "was written by another version of modelpack", "move it away, and the gate starts anew"
            )

    def close(self) -> None:
        self._engine.dispose()
        self._writer.dispose()

    def transaction(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that reads; raises DatabaseError if the database fails. In SQLite it cannot write."""
        return self._within(self._engine)

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that writes; raises DatabaseError if the database fails, a full disk included.

        SQLite has one writer, and lets the others try again now and then until it gives up: here they queue for the
        one connection that can write. So none of them begins in a transaction that only reads.
        """
        return self._within(self._writer)

    @contextmanager
    def _within(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        outer: sa.Connection | None = getattr(self._here, "connection", None)
        try:
            if outer is not None:
                yield outer
                return
            with engine.begin() as connection:
                self._here.connection = connection
                try:
                    yield connection
                finally:
                    self._here.connection = None
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            if getattr(cause, "sqlstate", "") == _TAKEN:
                raise DatabaseError("the gate", "is busy") from error
            raise DatabaseError("the gate's database", f"failed: {cause}") from error

    @contextmanager
    def locked(self, *names: str) -> Iterator[None]:
        """No other thread or gate is in one of this name meanwhile; waits `LOCK_TIMEOUT` seconds at most.

        In PostgreSQL it is one transaction. In SQLite each statement is its own: its one writer would keep all others
        waiting. What was written before another ModelpackError stays: it is true. Raises RemoteError.
        """
        with self._finding:  # a lock that nobody holds or waits for is forgotten: names come from anybody
            lock = self._locks.setdefault(names, threading.Lock())
        if not lock.acquire(timeout=LOCK_TIMEOUT):
            raise RemoteError("the gate", "is busy")
        problem: ModelpackError | None = None
        try:
            if not self.shared:
                yield
                return
            with self.transaction() as connection:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_key(names))))
                try:
                    yield
                except DatabaseError:
                    raise
                except ModelpackError as error:
                    problem = error
        finally:
            lock.release()
        if problem:
            raise problem

    def checkpoint(self) -> None:
        """Bring SQLite's log of changes into its file: a write that had to would wait for the disk."""
        if not self.shared:
            with self.transaction() as connection:
                connection.execute(sa.text("PRAGMA wal_checkpoint(PASSIVE)"))

    def lead(self) -> str:
        """Have the lease for `LEASE` seconds from now: a name for the time that we have had it without a gap, "" if
        another gate has it."""
        if not self.shared:
            return self._term
        now = sa.extract("epoch", sa.func.clock_timestamp())
        ours = (_leases.c.holder == self._term) & (_leases.c.until >= now)
        with self.writing() as connection:
            if connection.execute(_leases.update().where(ours).values(until=now + LEASE)).rowcount:
                return self._term
            self._term = secrets.token_hex(8)
            # unlike the renewal this waits for those that were told that the lease is theirs
            connection.execute(_leases.delete().where(_leases.c.until < now))
            take = insert(_leases).values(name=_WATCHER, holder=self._term, until=now + LEASE)
            taken = take.on_conflict_do_nothing().returning(_leases.c.holder)
            return str(connection.scalar(taken) or "")

    def leads(self, term: str) -> bool:
        """Whether that time goes on. It cannot end before the transaction does that this is asked in."""
        if not self.shared:
            return True
        ours = (_leases.c.name == _WATCHER) & (_leases.c.holder == term)
        with self.transaction() as connection:
            kept = _leases.select().where(ours).with_for_update(read=True, key_share=True)
            return connection.execute(kept).first() is not None

    def yield_lease(self) -> None:
        """Let another gate watch at once."""
        if self.shared:
            with self.writing() as connection:
                connection.execute(_leases.delete().where(_leases.c.holder == self._term))


def _key(names: tuple[str, ...]) -> int:
    """PostgreSQL's advisory locks have numbers of 64 bits for names."""
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _tune_shared(connection: Any, _: Any) -> None:
    """A gate that hangs in a transaction, or is stopped, keeps the others waiting no longer than this."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT:g}s'")
        cursor.execute(f"SET statement_timeout = '{_STATEMENT:g}s'")
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{HUNG:g}s'")
    connection.commit()


# a log of 80 MB is brought in by a write after all
_PRAGMAS = ("synchronous=NORMAL", "busy_timeout=5000", "foreign_keys=ON", "wal_autocheckpoint=20000")


def _tune(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", *_PRAGMAS):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _tune_reader(connection: Any, _: Any) -> None:
    _tune(connection, _)
    connection.execute("PRAGMA query_only=ON")
