"""The step train: the notebook or command that makes the model."""

from __future__ import annotations

import json
import shutil
from typing import Any

from modelpack.errors import InputError, ModelpackError
from modelpack.training import child
from modelpack.training.context import Context
from modelpack.training.definition import Train, Value
from modelpack.training.folder import Folder

RUN_PLACEHOLDER = "{run}"


def train(context: Context) -> None:
    """Make `model/`, anew. Raises InputError for what fails or leaves no model; a notebook is kept in any case."""
    folder = context.folder
    shutil.rmtree(folder.model, ignore_errors=True)
    folder.model.mkdir(parents=True)
    for each in (folder.metrics, folder.notebook, folder.html):
        each.unlink(missing_ok=True)
    try:
        work(context, context.training.train, folder)
    except ModelpackError:
        if where := keep(context, folder):
            context.say(f"the notebook as far as it came: {where}")
        raise
    keep(context, folder)
    check_model(context, folder)
    context.say("trained")


def check_model(context: Context, folder: Folder) -> None:
    """Raise InputError where training left nothing."""
    if not any(each.is_file() for each in folder.model.rglob("*")):
        problem = "was trained, but left no file in its output folder"
        raise InputError(context.run.model, problem, "write the model there")


def work(context: Context, how: Train, folder: Folder) -> None:
    """Run one pipeline on the data of a folder, into that folder."""
    parameters: dict[str, Value] = {**how.parameters, **context.run.parameters}
    if how.notebook:
        _notebook(context, how.notebook, parameters, folder)
    else:
        _command(context, how.command, parameters, folder)


def _command(context: Context, words: tuple[str, ...], parameters: dict[str, Value], folder: Folder) -> None:
    told = {
        "MODELPACK_DATA": str(folder.train_data),
        "MODELPACK_OUTPUT": str(folder.model),
        "MODELPACK_METRICS": str(folder.metrics),
        "MODELPACK_PARAMETERS": json.dumps(parameters, sort_keys=True),
    }
    context.say(f"$ {' '.join(words)}")
    env = child.environment(context.folder.home, told)
    code = child.run(words, cwd=context.folder.model_folder(context.run), env=env)
    if code:
        raise InputError(" ".join(words), child.how(code), "its last words are above, in the run's log")


def _notebook(context: Context, name: str, parameters: dict[str, Value], folder: Folder) -> None:
    from modelpack import notebook

    cwd = context.folder.model_folder(context.run)
    places: dict[str, Any] = {
        "data": str(folder.train_data),
        "output": str(folder.model),
        "metrics": str(folder.metrics),
    }
    context.say(f"running {name}")
    notebook.execute(
        cwd / name,
        parameters,
        offered=places,
        out=folder.notebook,
        html=folder.html,
        cwd=cwd,
        timeout=context.training.runs.timeout,
        env=child.environment(context.folder.home, {}),
    )


def keep(context: Context, folder: Folder) -> str:
    """Put the executed notebook and its HTML where training.yaml wants them; where the HTML lies, "" if nowhere."""
    from modelpack import data

    location = context.training.output.notebooks.replace(RUN_PLACEHOLDER, context.run.id)
    if not location or not folder.html.exists():
        return ""
    data.put(location, folder.notebook)
    return data.put(location, folder.html)
