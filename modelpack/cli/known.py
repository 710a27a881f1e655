"""The runs that are known on this machine: asked for one at a time, and found again by their ids."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.errors import ModelpackError, NotFoundError, RemoteError

if TYPE_CHECKING:
    from modelpack.gitops import Repository
    from modelpack.registry import Via
    from modelpack.runs import Backend
    from modelpack.training.ask import Asked
    from modelpack.training.run import Run

_PATIENCE = 120  # seconds, for a registry that another one asks meanwhile


def asked_for(repository: Repository, location: str, model: str, via: Via, folder: Path, **about: Any) -> Asked:
    """A run of what the tip says, written down below `folder` before another can be asked for: no two of them get the
    same version. `about` goes to `ask`."""
    from filelock import FileLock, Timeout

    from modelpack.training.ask import ask
    from modelpack.training.folder import Folder, write

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".asked.lock", timeout=_PATIENCE):
            known = [each for each in known_runs(folder, via) if each.model == model]
            over = {each.id for each in known if _made_nothing(folder, each, via)}
            asked = ask(repository, location, model, via, known=known, over=over, now=time.time(), **about)
            place = Folder(folder / asked.run.id)
            try:
                write(place.path / "training.yaml", asked.text)
                place.put_run(asked.run)
            except ModelpackError:
                shutil.rmtree(place.path, ignore_errors=True)
                raise
            return asked
    except Timeout as error:
        raise RemoteError(folder, f"another run has been asked for, for {_PATIENCE} s", "try again") from error
    except OSError as error:
        raise RemoteError(folder, f"cannot be written: {error.strerror}", "make room and try again") from error


def _made_nothing(folder: Path, run: Run, via: Via) -> bool:
    """Whether a run ended without a result: its version is free again. One that is lost may still go on somewhere."""
    from modelpack.training.run import State

    with suppress(ModelpackError):
        return backend_of(folder, run, via).look(run).state in (State.FAILED, State.CANCELLED)
    return False


def folder_of(state: Path | None) -> Path:
    from modelpack.store import home

    return (state or home() / "runs").absolute()


def location_of(repo: str) -> str:
    return str(Path(repo).resolve()) if Path(repo).is_dir() else repo


def known_runs(folder: Path, via: Via) -> tuple[Run, ...]:
    from modelpack.runs.local import Local

    return Local(folder, via).runs()


def backend_of(folder: Path, run: Run, via: Via) -> Backend:
    """Where a run takes place, by the training.yaml that was kept with it; experiments do here."""
    from modelpack.runs import open_backend
    from modelpack.runs.local import Local
    from modelpack.training.definition import parse

    path = folder / run.id / "training.yaml"
    if run.kind == "experiment" or not path.is_file():
        return Local(folder, via)
    return open_backend(parse(path.read_bytes(), str(path)), folder, via)


def open_run(folder: Path, run_id: str) -> tuple[Backend, Run]:
    from modelpack.registry import Via

    rules = Via.from_environ()
    known = {each.id: each for each in known_runs(folder, rules)}
    if run_id not in known:
        from modelpack.fields import nearest

        near = nearest(run_id, known)
        raise NotFoundError(
            run_id, f"is no run in {folder}", f"did you mean {near}?" if near else "modelpack runs lists them"
        )
    return backend_of(folder, known[run_id], rules), known[run_id]
