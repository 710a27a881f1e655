import sqlite3
from pathlib import Path

import pytest

from modelpack.errors import InputError, RemoteError
from modelpack.gate.rollouts import Rollout
from modelpack.gate.store import LISTED, Store


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


def test_every_open_rollout_is_watched_however_many_there_are(tmp_path: Path) -> None:
    store = Store.in_file(tmp_path / "gate.sqlite")
    for number in range(LISTED + 1):
        known = Rollout(
            f"r{number}", f"n{number}", "mpg", "mpg", "c", "d", "i", "p", "Progressing", 0, number, number, 60, 0.05
        )
        store.add(known, {})
    assert (len(store.open()), len(store.rollouts())) == (LISTED + 1, LISTED)
    store.close()
