import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from modelpack.errors import InputError, RemoteError
from modelpack.gate.checks import Evidence, Window
from modelpack.gate.database import DatabaseError
from modelpack.gate.rollouts import Rollout
from modelpack.gate.store import HISTORY, LISTED, Event, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.in_file(tmp_path / "gate.sqlite")
    yield store
    store.close()


def rollout(number: int) -> Rollout:
    return Rollout(
        f"r{number}", f"n{number}", "mpg", "mpg", "c", "d", "i", "p", "Progressing", 0, number, number, 60, 0.05
    )


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.sqlite"
    Store.in_file(path).close()
    Store.in_file(path).close()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE rollouts DROP COLUMN rollback")
    with pytest.raises(InputError, match="another version"):
        Store.in_file(path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gate.sqlite").write_text("not a database, and longer than a header would be" * 10)
    with pytest.raises(RemoteError, match="cannot be opened"):
        Store.in_file(tmp_path / "gate.sqlite")


def test_every_open_rollout_is_watched_however_many_there_are(store: Store) -> None:
    for number in range(LISTED + 1):
        store.add(rollout(number), {})
    assert (len(store.open()), len(store.rollouts())) == (LISTED + 1, LISTED)


def test_writes_wait_for_each_other_longer_than_sqlite_would(store: Store) -> None:
    store.add(rollout(1), {})
    begun, over, failed = threading.Event(), threading.Event(), []

    def note(number: int) -> None:
        try:
            store.add_event("r1", Event(float(number), "event", "", str(number), 200, ""))
        except RemoteError as error:
            failed.append(str(error))

    def hold() -> None:
        with store.writing() as connection:
            connection.execute(sa.text("UPDATE rollouts SET weight = 1"))
            begun.set()
            over.wait(30)

    threads = [threading.Thread(target=hold), *(threading.Thread(target=note, args=(n,)) for n in range(20))]
    for each in threads:
        each.start()
        assert begun.wait(5)
    threads[1].join(5.5)  # SQLite gives up after five seconds
    assert store.open()[0].weight == 0  # who reads waits for nobody
    over.set()
    for each in threads:
        each.join(10)
    assert failed == [] and len(store.events("r1")) == 20


def test_a_history_does_not_grow_without_end_and_has_its_newest_points(store: Store) -> None:
    store.add(rollout(1), {})
    count = 2 * HISTORY + 100
    with store.writing():
        for number in range(count):
            store.add_evidence(rollout(1), {"errors": (Evidence("undecided", "", n=number), Window())}, float(number))
    with store.transaction() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM points")) <= 2 * HISTORY
    times = [each["t"] for each in store.history("r1", "errors")]
    assert len(times) <= HISTORY and times == sorted(times) and times[-1] == count - 1 and times[0] < 4


def test_a_checkpoint_brings_what_was_written_into_the_file(store: Store, tmp_path: Path) -> None:
    for number in range(300):
        store.add(rollout(number), {"gate.yaml": b"x" * 10_000})
    path, log = tmp_path / "gate.sqlite", tmp_path / "gate.sqlite-wal"
    assert path.stat().st_size < 1_000_000 < log.stat().st_size  # no write did
    store.checkpoint()
    assert path.stat().st_size > 3_000_000
    size = log.stat().st_size
    store.add(rollout(300), {})
    assert log.stat().st_size == size  # it begins anew


def test_what_says_that_it_reads_cannot_write(store: Store) -> None:
    with pytest.raises(DatabaseError, match="readonly"), store.transaction() as connection:
        connection.execute(sa.text("DELETE FROM canaries"))


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT namespace, name FROM rollouts WHERE ended IS NULL", "rollouts_open (ended=?)"),
        (
            "SELECT * FROM rollouts WHERE ended IS NULL AND namespace = 'a' AND name = 'b' ORDER BY started DESC, id",
            "rollouts_open (ended=? AND namespace=? AND name=?)",
        ),
        (
            "SELECT * FROM rollouts WHERE namespace = 'a' AND name = 'b' AND checksum = 'c' ORDER BY started DESC, id",
            "rollouts_of_canary (namespace=? AND name=?)",
        ),
        (
            "SELECT * FROM events WHERE rollout = 'a' AND hook = 'event' ORDER BY id DESC LIMIT 1",
            "events_last (rollout=? AND hook=?)",
        ),
    ],
)
def test_what_a_call_asks_reads_no_whole_table(store: Store, query: str, index: str) -> None:
    with store.transaction() as connection:
        plan = [row[-1] for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {query}"))]
    assert plan[0].startswith("SEARCH") and plan[0].endswith(index)
