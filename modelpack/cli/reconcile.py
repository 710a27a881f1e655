"""reconcile, needs-sync."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelpack.cli.options import branch_option, emit, json_option, repo_option, via_option
from modelpack.errors import InputError, ModelpackError
from modelpack.registry import Via

if TYPE_CHECKING:
    from modelpack.reconcile.look import Rooms
    from modelpack.reconcile.outcome import Outcome

_LOOPS = ("train", "experiment", "deploy", "record")
_DURATION_REMEDY = "write it like 90s, 10m, 1h30m or 7d"

state_option = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keeps reconcile.sqlite and the runs of this machine.  [default: $MODELPACK_HOME]",
)
gate_option = click.option(
    "--gate", default="", metavar="URL", help="The gate's address.  [default: model.yaml's first environment's]"
)


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@repo_option
@branch_option
@click.option("--once", is_flag=True, help="One round, and no more.")
@click.option("--every", default="1m", show_default=True, metavar="DURATION", help="Time between rounds.")
@gate_option
@state_option
@click.option("--only", default="", metavar="LOOP,...", help=f"Of {', '.join(_LOOPS)}.  [default: all]")
@via_option
@json_option
def reconcile(
    models: tuple[str, ...],
    repo: str,
    branch: str,
    once: bool,
    every: str,
    gate: str,
    state: Path | None,
    only: str,
    via: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train what is stale, propose what is better, again and again.

    Looks at every model-images/*/training.yaml of the branch, or at those of MODEL. Trains a model whose data, code,
    age or signals at the gate ask for it, one run at a time; names the newest version that passed in Git, by pull
    request or commit as training.yaml says; and keeps beside each image what its rollouts came to. Where training.yaml
    says experiment: {propose: pull-request}, a changed experiment is compared once, and proposed if it passes.

    What it decides by is in Git, the registry and the gate. The file in --state remembers runs under way and what
    failed; without it the next round finds the same again. Ctrl-C ends it and leaves runs going.

    \b
    Examples:
      modelpack reconcile --once
      modelpack reconcile mpg --repo git@example.com:team/serving.git --every 5m --gate http://gate.example.com
      modelpack reconcile mpg --once --only deploy --json

    Exit codes with --once: 0 done, or nothing to do; else that of the first error: 2 a training.yaml, 3 an unknown
    model or file, 4 a refused push or no token, 5 registry, Git server, forge, gate or backend failed, or another
    reconciler is at work, 6 a broken state. Without it: 130 after Ctrl-C.
    """
    from modelpack.reconcile.state import Memory, alone
    from modelpack.runs import keeper

    keeper.shield()
    seconds, loops = _seconds(every), _loops(only)
    rooms, folder = _rooms(repo, branch, gate, state, via), _folder(state)
    said: set[str] = set()
    while True:
        before, said = said, set()
        errors: list[ModelpackError] = []
        try:
            with alone(folder), Memory(folder) as memory:
                errors = _round(rooms, memory, models, loops, as_json, before if not once else None, said)
        except ModelpackError as error:
            if once:
                raise
            said.add(str(error))
            if str(error) not in before:
                click.echo(f"error: {error}", err=True)
        if once:
            if errors:
                raise errors[0]
            return
        time.sleep(seconds)


@click.group("needs-sync")
def needs_sync() -> None:
    """Answer over HTTP whether a model needs a run or a bump."""


@needs_sync.command()
@repo_option
@branch_option
@gate_option
@state_option
@via_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), show_default=True, help="Port; 0 takes a free one.")
@click.option("--json", "as_json", is_flag=True, help='Print {"url": …} when ready.')
def serve(
    repo: str, branch: str, gate: str, state: Path | None, via: tuple[str, ...], host: str, port: int, as_json: bool
) -> None:
    """Serve needsTrain and needsSync until SIGTERM or Ctrl-C.

    GET /needsTrain and /needsSync answer {"kind": "NeedsSync", "needsSync": …, "parameters": {…}}, about ?model=NAME,
    /models/NAME/needsTrain, or the only model that there is. needsTrain is true where modelpack reconcile would start a
    run: the parameter `run` is all that modelpack step asks for. needsSync is true where Git names an older version
    than the newest that passed, and no pull request proposes it. What cannot be told is 500 with errors, never true.

    \b
    Examples:
      modelpack needs-sync serve --repo https://git.example.com/team/serving.git --port 8080
      curl -s http://127.0.0.1:8080/models/mpg/needsTrain
      modelpack needs-sync serve --gate http://gate.example.com --host 0.0.0.0 --port 8080

    Exit codes: 2 usage, 5 the port is taken.
    """
    from modelpack.reconcile.needs_sync import Answer, Answers, Server, ask
    from modelpack.reconcile.state import Memory

    rooms, folder = _rooms(repo, branch, gate, state, via), _folder(state)

    def find(what: str, model: str) -> Answer:
        with Memory(folder) as memory:
            return ask(what, model, rooms, memory)

    with Server((host, port), Answers(find)) as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
        emit({"url": server.url}, f"needs-sync at {server.url}", as_json)
        sys.stdout.flush()
        server.serve_forever()


def _round(
    rooms: Rooms,
    memory: Any,
    models: tuple[str, ...],
    loops: tuple[str, ...],
    as_json: bool,
    before: set[str] | None,
    said: set[str],
) -> list[ModelpackError]:
    """One round, each line as it comes, and after it each note once. What the round `before` said is not said again."""
    from modelpack.reconcile.loop import reconcile_once

    outcomes: list[Outcome] = []
    for outcome in reconcile_once(rooms, memory, models, loops):
        outcomes.append(outcome)
        line = _line(outcome)
        said.add(line)
        if before is not None and line in before:
            continue
        if before is not None and as_json:
            emit(_value(outcome), "", as_json)
        elif not as_json:
            click.echo(line, err=outcome.error is not None)
            sys.stdout.flush()
    for note in dict.fromkeys(f"note: {each}" for outcome in outcomes for each in outcome.notes):
        said.add(note)
        if not as_json and note not in (before or ()):
            click.echo(note)
    sys.stdout.flush()
    if before is None:
        if as_json:
            emit({"outcomes": [_value(each) for each in outcomes]}, "", as_json)
        elif not outcomes:
            click.echo("no model-images/*/training.yaml: nothing to reconcile")
    return [each.error for each in outcomes if each.error]


def _line(outcome: Outcome) -> str:
    if outcome.error:
        return f"{outcome.model}: {outcome.what}: error: {outcome.reason}"
    where = "".join(f" {each}" for each in (outcome.run, outcome.pull) if each)
    commit = f" (commit {outcome.commit[:7]})" if outcome.commit else ""
    return f"{outcome.model}: {outcome.what}: {outcome.action}{where}{commit}, {outcome.reason}"


def _value(outcome: Outcome) -> dict[str, Any]:
    value = {key: each for key, each in vars(outcome).items() if key != "error"}
    return value | ({"exitCode": outcome.error.exit_code} if outcome.error else {})


def _rooms(repo: str, branch: str, gate: str, state: Path | None, via: tuple[str, ...]) -> Rooms:
    from modelpack.reconcile.look import Rooms

    if gate and not gate.startswith(("http://", "https://")):
        raise click.BadParameter(f"{gate!r} is not an http address", param_hint="--gate")
    location = str(Path(repo).resolve()) if Path(repo).is_dir() else repo
    return Rooms(location, branch, _folder(state) / "runs", Via.from_environ(via), gate)


def _folder(state: Path | None) -> Path:
    from modelpack.store import home

    return (state or home()).absolute()


def _loops(only: str) -> tuple[str, ...]:
    named = tuple(each.strip() for each in only.split(",") if each.strip())
    for each in named:
        if each not in _LOOPS:
            raise click.BadParameter(f"{each!r} is not one of {', '.join(_LOOPS)}", param_hint="--only")
    return named or _LOOPS


def _seconds(text: str) -> float:
    from modelpack.fields import read

    try:
        return read(json.dumps({"every": text}), "--every").duration("every")
    except InputError as error:
        raise click.BadParameter(f"{text!r} is not a duration; {_DURATION_REMEDY}", param_hint="--every") from error
