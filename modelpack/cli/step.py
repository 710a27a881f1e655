"""step: what every backend calls."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from modelpack.cli.options import via_option
from modelpack.errors import InputError, RefusedError
from modelpack.text import blanked

if TYPE_CHECKING:
    from modelpack.training.folder import Folder
    from modelpack.training.run import Run


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="STEP…|all")
@click.option(
    "--folder", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The run's folder; steps share it."
)
@click.option("--run", "run_text", default="", metavar="JSON|FILE", help="What is to be run.  [default: DIR/run.json]")
@click.option(
    "--result", type=click.Path(path_type=Path), metavar="FILE", help="Write the outcome there, in less than 2 KiB."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write files result, passed and image there, as Tekton takes results; not to pass is exit code 0 then.",
)
@via_option
def step(
    names: tuple[str, ...],
    folder: Path,
    run_text: str,
    result: Path | None,
    results: Path | None,
    via: tuple[str, ...],
) -> None:
    """Do steps of a training run in a folder: fetch, validate, test, train, evaluate, package, or all.
    An experiment has compare in place of the last three.

    A step may be repeated. `all` goes on after the last one that is done. After a model that did not pass nothing more
    is done, but that `package` records its evaluation.

    \b
    Examples:
      modelpack step all --folder ./run --run run.json
      modelpack step fetch validate --folder ./run --run '{"id": "mpg-v8-1f0c9a72de", …}'
      modelpack step train --folder ./run

    Exit codes: 0 done; 2 the training failed; 3 a commit, data or program is not there; 4 it did not pass; 5 Git,
    registry or storage failed: try again.
    """
    from modelpack.registry import Via
    from modelpack.runs import keeper
    from modelpack.training import steps
    from modelpack.training.context import Context
    from modelpack.training.folder import Folder

    keeper.guard()
    keeper.shield()
    place = Folder(folder.absolute())
    if run_text:
        place.put_run(_without_login(_run(run_text)))
    run = place.run()
    chosen, resume = steps.parse(names, run.kind)
    context = Context(place, run, Via.from_environ(via), _say, time.time)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        seen = steps.run_steps(chosen, context, resume=resume)
        try:
            steps.check_passed(seen)
        except RefusedError:
            if results is None:
                raise
    finally:
        _tell(place, result, results)


def _run(text: str) -> Run:
    from modelpack.training.run import from_json

    try:
        shown = "--run" if text.lstrip().startswith("{") else text
        return from_json(json.loads(text if shown == "--run" else Path(text).read_bytes()))
    except OSError as error:
        raise InputError(text, f"cannot be read: {error.strerror}", "give a run's JSON, or a file with it") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(shown, "is not a run", "modelpack train makes one") from error


def _without_login(run: Run) -> Run:
    """The run as it may be written down; a login in its repository's location stays in our own environment."""
    from modelpack.gitops.program import without_login
    from modelpack.training.context import REPOSITORY

    shown = without_login(run.repository)
    if shown != run.repository:
        os.environ[REPOSITORY] = run.repository
    return replace(run, repository=shown)


def _say(text: str) -> None:
    for line in text.splitlines():
        click.echo(blanked(line))
    sys.stdout.flush()  # the log is followed


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(folder: Folder, result: Path | None, results: Path | None) -> None:
    """Write the outcome where whoever started us looks for it: in place, the file may be a mount."""
    from modelpack.training.folder import compact

    seen = folder.seen()
    if seen is None:
        return
    found = seen.result
    passed = "" if found is None else json.dumps(found.passed)
    files = {result: compact(seen).decode()} if result else {}
    if results:
        results.mkdir(parents=True, exist_ok=True)
        told = {"result": compact(seen).decode(), "passed": passed, "image": found.image if found else ""}
        files |= {results / name: text for name, text in told.items()}
    for path, text in files.items():
        try:
            path.write_text(text)
        except OSError as error:
            raise InputError(path, f"cannot be written: {error.strerror}") from error
