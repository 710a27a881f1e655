"""train, runs."""

from __future__ import annotations

import math
import shutil
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelpack.cli.known import asked_for, backend_of, folder_of, known_runs, location_of, open_run
from modelpack.cli.options import (
    branch_option,
    emit,
    json_option,
    pair_of,
    parameter_option,
    repo_option,
    via_option,
)
from modelpack.cli.step import step
from modelpack.errors import InputError, ModelpackError, RefusedError, RemoteError
from modelpack.text import blanked

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelpack.runs import Backend
    from modelpack.training.definition import Value
    from modelpack.training.run import Run, Seen

__all__ = ["runs", "step", "train"]

_LOOK = 0.5  # seconds

state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where runs are kept.  [default: runs in $MODELPACK_HOME]",
)


@click.command()
@click.argument("model", metavar="MODEL")
@repo_option
@branch_option
@state_option
@parameter_option
@click.option("--wait/--detach", default=True, show_default=True, help="Follow it to its end, or only start it.")
@via_option
@json_option
def train(
    model: str,
    repo: str,
    branch: str,
    state: Path | None,
    pairs: tuple[str, ...],
    wait: bool,
    via: tuple[str, ...],
    as_json: bool,
) -> None:
    """Start a training run, and follow it.

    MODEL is a model's name. What is trained then stands in model-images/MODEL/training.yaml on the branch: the data,
    the notebook or command, what the model must pass, and where the run takes place. A model that passes is packaged,
    with its evaluation and provenance beside it in the registry; one that does not leaves its evaluation there.

    Or it is a file that modelpack compile made. Its Job or PipelineRun starts at the cluster of $KUBECONFIG, a Kubeflow
    pipeline at $KF_PIPELINES_ENDPOINT; the same file again starts nothing.

    Ctrl-C stops following; the run goes on.

    \b
    Examples:
      modelpack train mpg
      modelpack train mpg --repo git@example.com:team/serving.git --parameter alpha=0.3
      modelpack train mpg --detach --json
      modelpack train tekton.yaml

    Exit codes: 0 the model passed (or, with --detach, the run has started); 2 the training failed; 3 unknown model,
    data or file; 4 the model did not pass; 5 Git, registry or backend failed: try again.
    """
    if model.endswith((".yaml", ".yml")):
        if pairs:
            raise click.UsageError("a compiled file has its parameters in it: give them to modelpack compile")
        _train_compiled(Path(model), wait, as_json)
        return
    from modelpack import runs as places
    from modelpack.gitops import open_repository
    from modelpack.registry import Via

    rules, folder = Via.from_environ(via), folder_of(state)
    told = dict(map(parameter_of, pairs))
    with open_repository(repo, branch) as repository:
        asked = asked_for(repository, repo, model, rules, folder, parameters=told, reason="asked for")
    run = asked.run
    try:
        backend = places.open_backend(asked.training, folder, rules, repository=location_of(repo))
        backend.start(run, asked.training)
    except ModelpackError as error:
        if not isinstance(error, RemoteError) or asked.training.runs.backend == "local":  # else it may have started
            shutil.rmtree(folder / run.id, ignore_errors=True)
        raise
    if not wait:
        emit(value_of(run, backend.look(run)), f"{run.id} has started: modelpack runs log {run.id}", as_json)
        return
    click.echo(f"{run.id} makes {run.model} {run.version} from {run.data}", err=True)
    seen = follow(backend, run, shown=not as_json and sys.stderr.isatty())
    emit(value_of(run, seen), sentence(run, seen), as_json)
    leave(run, seen)


def _train_compiled(file: Path, wait: bool, as_json: bool) -> None:
    """Start what `modelpack compile` made, and follow it."""
    from modelpack.runs.compiled import check, open_compiled

    compiled = open_compiled(file)
    compiled.start()
    seen = _until_over(compiled.look, compiled.log, compiled.name, not as_json) if wait else compiled.look()
    value = {"name": compiled.name, "state": seen.state.value, "message": seen.message}
    emit(value, f"{compiled.name} {'has started' if not wait else seen.state.value}", as_json)
    if wait:
        check(compiled.name, seen)


@click.group(invoke_without_command=True)
@state_option
@json_option
@click.pass_context
def runs(ctx: click.Context, state: Path | None, as_json: bool) -> None:
    """List training runs; show, cancel or read one.

    \b
    Examples:
      modelpack runs
      modelpack runs log mpg-v8-1f0c9a72de
      modelpack runs cancel mpg-v8-1f0c9a72de
    """
    ctx.obj = folder_of(state)
    if ctx.invoked_subcommand is not None:
        return
    from modelpack.registry import Via

    rules = Via.from_environ()
    found = [(run, backend_of(ctx.obj, run, rules).look(run)) for run in known_runs(ctx.obj, rules)]
    found.sort(key=lambda each: each[0].created)
    lines = [
        f"{run.id:40}  {seen.state.value:9}  {run.version:8}  {_passed(seen):10}  {_when(run.created)}  {run.reason}"
        for run, seen in found
    ]
    emit({"runs": [value_of(*each) for each in found]}, "\n".join(lines) or "no runs", as_json)


@runs.command()
@click.argument("run_id", metavar="RUN")
@json_option
@click.pass_obj
def show(folder: Path, run_id: str, as_json: bool) -> None:
    """How a run stands, and its table.

    \b
    Example:
      modelpack runs show mpg-v8-1f0c9a72de --json
    """
    from modelpack.quality import as_text

    backend, run = open_run(folder, run_id)
    seen = backend.look(run)
    evaluation = seen.result.evaluation if seen.result else None
    table = f"\n{as_text(evaluation)}" if evaluation else ""
    emit(value_of(run, seen), f"{sentence(run, seen)}{table}", as_json)


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def log(folder: Path, run_id: str) -> None:
    """Print what a run wrote so far.

    \b
    Example:
      modelpack runs log mpg-v8-1f0c9a72de
    """
    backend, run = open_run(folder, run_id)
    click.echo(blanked(backend.log(run), "\n\t"), nl=False)


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def cancel(folder: Path, run_id: str) -> None:
    """End a run that goes on.

    \b
    Example:
      modelpack runs cancel mpg-v8-1f0c9a72de
    """
    backend, run = open_run(folder, run_id)
    if backend.look(run).state.over:
        click.echo(f"{run.id} is over already")
        return
    backend.cancel(run)
    click.echo(f"{run.id} is asked to end")


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def remove(folder: Path, run_id: str) -> None:
    """Forget a run that is over, and its files.

    \b
    Example:
      modelpack runs remove mpg-v8-1f0c9a72de
    """
    backend, run = open_run(folder, run_id)
    backend.remove(run)
    shutil.rmtree(folder / run.id, ignore_errors=True)
    click.echo(f"{run.id} is forgotten")


def follow(backend: Backend, run: Run, shown: bool) -> Seen:
    """Wait for the end; what the run writes goes to stderr where that is a terminal. Ctrl-C leaves it running."""
    try:
        return _until_over(lambda: backend.look(run), lambda: backend.log(run), run.id, shown)
    except KeyboardInterrupt:
        click.echo(f"modelpack runs log {run.id}, or cancel", err=True)
        raise


def _until_over(look: Callable[[], Seen], log: Callable[[], str], name: str, shown: bool) -> Seen:
    written = ""
    try:
        while True:
            seen = look()
            if shown and sys.stderr.isatty():
                text = log()
                click.echo(blanked(_news(written, text), "\n\t"), err=True, nl=False)
                written = text
            if seen.state.over:
                return seen
            time.sleep(_LOOK)
    except KeyboardInterrupt:
        click.echo(f"\n{name} goes on", err=True)
        raise


def _news(before: str, now: str) -> str:
    """What a log has more than before; a log may have lost its beginning meanwhile."""
    if now.startswith(before):
        return now[len(before) :]
    at = now.find(before[-500:])
    return now[at + len(before[-500:]) :] if at >= 0 else now


def leave(run: Run, seen: Seen) -> None:
    """Leave with the exit code that belongs to a run's end."""
    from modelpack.training.run import State

    if seen.result is not None:
        sys.exit(0 if seen.result.passed else RefusedError.exit_code)
    if seen.state is State.SUCCEEDED:  # where a backend keeps no results, the registry has them
        return
    if seen.retryable:
        raise RemoteError(run.id, seen.message or seen.state.value, "try again")
    if seen.state is State.CANCELLED:
        raise RefusedError(run.id, "was cancelled")
    raise InputError(run.id, seen.message or "failed", f"modelpack runs log {run.id} says more")


def sentence(run: Run, seen: Seen) -> str:
    if seen.result is None:
        from modelpack.training.run import State

        if seen.state is State.SUCCEEDED:
            return f"{run.id} has ended; modelpack list {run.model} says how good {run.version} is"
        return f"{run.id}: {seen.state.value}{f', {seen.message}' if seen.message else ''}"
    if seen.result.passed:
        return f"{run.id}: {run.model} {run.version} passed: {seen.result.image}"
    why = f"{run.model} {run.version} did not pass: {seen.result.reason}"
    return f"{run.id}: {why}; modelpack runs show {run.id} has the table"


def _passed(seen: Seen) -> str:
    return "" if seen.result is None else "passed" if seen.result.passed else "not passed"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M")


def value_of(run: Run, seen: Seen) -> dict[str, Any]:
    from modelpack.training.folder import seen_to_json
    from modelpack.training.run import to_json

    return {"run": to_json(run), **seen_to_json(seen)}


def parameter_of(word: str) -> tuple[str, Value]:
    """NAME=VALUE; a value is what YAML takes it for."""
    import yaml

    name, text = pair_of(word)
    try:
        value = yaml.safe_load(text) if text else ""
    except (yaml.YAMLError, ValueError):
        value = text
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError("--parameter", f"{word!r} is not a finite number: JSON has no other")
    return name, value if isinstance(value, str | int | float | bool) else text
