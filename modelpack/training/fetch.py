"""The step fetch: the repository's files at the run's commit, and the data of the run's version."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.errors import InputError, IntegrityError, NotFoundError
from modelpack.gitops import Repository, open_repository
from modelpack.training import current
from modelpack.training.context import Context
from modelpack.training.folder import Folder

if TYPE_CHECKING:
    import pandas as pd


def fetch(context: Context) -> None:
    """Fill `source/` and `data/`. Raises NotFoundError for a commit or a data version that is not there any more."""
    folder, run = context.folder, context.run
    with open_repository(context.repository, run.branch) as repository:
        there = repository.at_commit(run.commit)
        _export(there, folder)
        context.say(f"checked out {run.commit[:12]} of {run.branch}")
        rows = _data(context, there)
        context.say(f"data {run.data}: {rows[0]} rows, {rows[1]} to learn from and {rows[2]} held out")
        _previous(context, repository)


def _export(repository: Repository, folder: Folder) -> None:
    part = folder.path / "source.part"
    for each in (part, folder.source):
        shutil.rmtree(each, ignore_errors=True)
    repository.export(part)
    part.rename(folder.source)


def _data(context: Context, repository: Repository) -> tuple[int, int, int]:
    from modelpack import quality

    folder, data = context.folder, context.training.data
    table = _table(context, repository, context.run.data, folder.data / "fetched")
    if data.target not in table.columns:
        known = ", ".join(map(str, list(table.columns)[:20]))
        raise InputError(f"{context.run.folder}/training.yaml", f"the data has no column {data.target!r}", known)
    train, heldout = quality.split(table, data.key, data.heldout)
    if not len(train) or not len(heldout):
        raise InputError(context.run.data, "has too few rows to hold some out", "give data.heldout another share")
    for path, part in ((folder.all_data, table), (folder.train_data, train), (folder.heldout, heldout)):
        part.to_csv(path, index=False)
    return len(table), len(train), len(heldout)


def _previous(context: Context, repository: Repository) -> None:
    """The data that the current model learned from, if that is known and can be had; without it there is no drift."""
    folder, run = context.folder, context.run
    folder.previous.unlink(missing_ok=True)
    found = current.look(repository, run.model, context.via, context.say)
    if found is None:
        return
    context.say(f"{found.version} is the current model, made from {found.data or 'data that it does not name'}")
    if not found.data or found.data == run.data:
        return
    try:
        table = _table(context, repository, found.data, folder.data / "fetched-previous")
    except (NotFoundError, InputError, IntegrityError) as error:
        context.say(f"its data cannot be had any more, so drift is not looked at: {error}")
        return
    table.to_csv(folder.previous, index=False)


def _table(context: Context, repository: Repository, version: str, into: Path) -> pd.DataFrame:
    from modelpack import data

    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    path = data.fetch(context.training.data.source, context.run.folder, repository, version, into, context.root)
    table: Any = data.table(path)
    return table
