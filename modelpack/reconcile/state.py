"""What a reconciler remembers, in one SQLite file: runs it started, and what it told others already.

A run is written down before it is started, so that a reconciler killed in between goes on with the same one. An index
makes a second active run of a model impossible. Nothing here is needed to be right: a file that is lost costs a look at
the backends, and attempts at what failed before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from modelpack.errors import IntegrityError, RefusedError, RemoteError
from modelpack.oci import digest_of
from modelpack.reconcile.trainer import Attempt
from modelpack.training.run import Run, Seen, State, from_json, to_json

FILE, LOCK = "reconcile.sqlite", "reconcile.lock"
LOCK_SECONDS = 60.0
_FORMAT = 1
_LONGEST = 2000  # characters of a message
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, cause TEXT NOT NULL, run TEXT NOT NULL,
    training BLOB NOT NULL, state TEXT NOT NULL, ended REAL NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
    retryable INTEGER NOT NULL DEFAULT 0, passed INTEGER NOT NULL DEFAULT 0, removed INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS one_active_run ON runs (subject) WHERE state IN ('pending', 'running');
CREATE TABLE IF NOT EXISTS told (about TEXT PRIMARY KEY, what TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Remembered:
    """A run that was started, or is about to be: state PENDING until the backend took it.

    `training` are the bytes of its training.yaml: an edit must not orphan it. `removed`: the backend forgot it.
    """

    run: Run
    cause: str
    training: bytes
    state: State
    ended: float
    message: str
    retryable: bool
    passed: bool
    removed: bool

    @property
    def attempt(self) -> Attempt:
        run, end = self.run, (self.ended, self.message, self.retryable, self.passed)
        about = (digest_of(self.training), run.kind, run.commit)
        return Attempt(run.id, run.version, run.data, run.code, self.cause, self.state, *end, *about)


class Memory:
    """The file in a folder, which is made. Use it as a context manager; every method may raise RemoteError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=30.0)
            with self._working() as database:
                (found,) = database.execute("PRAGMA user_version").fetchone()
                if not found:
                    database.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {_FORMAT};COMMIT;")
        except (OSError, sqlite3.OperationalError) as error:
            problem = f"cannot be opened: {error}"
            raise RemoteError(self._path, problem, "name another folder with --state or $MODELPACK_HOME") from error
        if found not in (0, _FORMAT):
            raise IntegrityError(self._path, f"has format {found}, which this version cannot read", "move it away")

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def runs(self, subject: str) -> tuple[Remembered, ...]:
        """The runs of a model, by its image's name; oldest first."""
        columns = "run, cause, training, state, ended, message, retryable, passed, removed"
        with self._working() as database:
            rows = database.execute(f"SELECT {columns} FROM runs WHERE subject = ? ORDER BY number", (subject,))  # noqa: S608
            try:
                return tuple(_remembered(row) for row in rows)
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise IntegrityError(self._path, "holds what is no run", "move it away: it is found again") from error

    def claim(self, subject: str, run: Run, cause: str, training: bytes) -> None:
        """Write a run down before it is started; raises RefusedError if another one of this model is under way."""
        text = json.dumps(to_json(run))
        try:
            with self._working() as database:
                database.execute(
                    "INSERT INTO runs (id, subject, cause, run, training, state) VALUES (?, ?, ?, ?, ?, ?)",
                    (run.id, subject, cause, text, training, State.PENDING.value),
                )
        except sqlite3.IntegrityError as error:
            raise RefusedError(run.model, "has a run under way already, or had this one", "look again") from error

    def forget(self, run: str) -> None:
        """Forget a run that no backend took."""
        with self._working() as database:
            database.execute("DELETE FROM runs WHERE id = ?", (run,))

    def note(self, run: str, seen: Seen) -> None:
        """Remember how a run stands."""
        passed = bool(seen.result and seen.result.passed)
        message = seen.message or (seen.result.reason if seen.result else "")
        values = (seen.state.value, seen.ended, message[:_LONGEST], seen.retryable, passed, run)
        with self._working() as database:
            changes = "state = ?, ended = ?, message = ?, retryable = ?, passed = ?"
            database.execute(f"UPDATE runs SET {changes} WHERE id = ?", values)  # noqa: S608

    def removed(self, run: str) -> None:
        """Remember that the backend forgot a run."""
        with self._working() as database:
            database.execute("UPDATE runs SET removed = 1 WHERE id = ?", (run,))

    def told(self, about: str) -> str:
        """What was last told about something, "" for nothing."""
        with self._working() as database:
            row = database.execute("SELECT what FROM told WHERE about = ?", (about,)).fetchone()
        return str(row[0]) if row else ""

    def tell(self, about: str, what: str) -> None:
        with self._working() as database:
            database.execute("INSERT OR REPLACE INTO told (about, what) VALUES (?, ?)", (about, what))

    @contextmanager
    def _working(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._database as database:
                yield database
        except sqlite3.OperationalError as error:
            raise RemoteError(self._path, f"cannot be used: {error}", "make room, or try again") from error
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise IntegrityError(self._path, f"is broken: {error}", "move it away: it is found again") from error


@contextmanager
def alone(folder: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the folder against other reconcilers; raises RemoteError if one is at work there for so long."""
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise RemoteError(folder, "another reconciler is at work with it", "let that one end, or name another --state") from error  # noqa: E501  # fmt: skip
    except OSError as error:
        raise RemoteError(folder, f"cannot be written: {error.strerror}", "name another with --state") from error
    try:
        yield
    finally:
        lock.release()


def _remembered(row: tuple[str, str, bytes, str, float, str, int, int, int]) -> Remembered:
    text, cause, training, state, ended, message, retryable, passed, removed = row
    run = from_json(json.loads(text))
    flags = (bool(retryable), bool(passed), bool(removed))
    return Remembered(run, cause, training, State(state), ended, message, *flags)
