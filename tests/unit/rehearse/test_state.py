"""The state folder is a cluster's memory: one user at a time, whole files, a fresh start after an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import InputError, RefusedError
from modelpack.rehearse.state import Cluster, State
from modelpack.rollout import Phase, Status


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    assert state.load() == Cluster()
    cluster = Cluster(Status(Phase.FAILED, 1, 0, 0, "v2", "v1"), "v1")
    state.save(cluster)
    assert State(tmp_path / "state").load() == cluster
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["cluster.json"]


@pytest.mark.parametrize("data", ["", "{}", '{"status": {"phase": "Odd"}, "primary": ""}', "[]"])
def test_a_file_that_no_rehearsal_wrote_is_refused(tmp_path: Path, data: str) -> None:
    (tmp_path / "cluster.json").write_text(data)
    with pytest.raises(InputError, match="remove the state folder"):
        State(tmp_path).load()


def test_only_one_rehearsal_holds_it(tmp_path: Path) -> None:
    with State(tmp_path), pytest.raises(RefusedError, match="another rehearsal"), State(tmp_path):
        pass
    with State(tmp_path):
        pass


@pytest.mark.parametrize("phase", list(Phase))
def test_an_interrupted_run_starts_over_from_what_the_primary_serves(phase: Phase) -> None:
    cluster = Cluster(Status(phase, 1, 30, 2, "v2", "v1"), "v1")
    recovered = cluster.recovered()
    if phase.settled or phase is Phase.INITIALIZING:
        assert recovered == cluster
    else:
        assert recovered.status == Status(Phase.INITIALIZED, last_applied="v1", last_promoted="v1", attempt=1)
        assert recovered.status.changed("v2")


def test_revisions_are_forgotten_but_those_in_use(tmp_path: Path) -> None:
    state = State(tmp_path)
    for name in "abc":
        (state.revisions / name / "source").mkdir(parents=True)
    state.forget_revisions("b")
    assert [folder.name for folder in state.revisions.iterdir()] == ["b"]
