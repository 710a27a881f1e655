"""`modelpack rehearse`."""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from modelpack.cli.options import (
    REFERENCE,
    branch_option,
    emit,
    environment_option,
    json_option,
    repo_option,
    via_option,
)
from modelpack.errors import InputError, ModelpackError
from modelpack.reference import Reference

if TYPE_CHECKING:
    from modelpack.reconcile.settle import Outcome as Settled
    from modelpack.rehearse.outcome import Moment, Outcome
    from modelpack.rehearse.plan import Plan
    from modelpack.rehearse.traffic import Request


@click.command()
@click.argument("ref", required=False, type=REFERENCE)
@repo_option
@branch_option
@environment_option
@click.option("--state", "folder", type=click.Path(path_type=Path), help="Stands for the cluster between rehearsals.")
@click.option("--gate", default="", metavar="URL", help="Ask a gate that runs already.")
@click.option("--traffic", type=click.Path(path_type=Path), metavar="FILE", help="Requests, a JSON object a line.")
@click.option("--rate", type=click.FloatRange(min=0), default=50.0, show_default=True, help="Requests per second.")
@click.option(
    "--speed", type=click.FloatRange(min=0.1, max=1000), default=1.0, show_default=True, help="Divides intervals."
)
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=1800.0, show_default=True, help="Give up after seconds."
)
@click.option(
    "--labels-after",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Tell the gate what was expected of a request so many seconds after its answer, divided by --speed.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Where report.json and report.html go.")
@click.option(
    "--settle/--no-settle", default=True, show_default=True, help="After a failure, make Git say what serves."
)
@via_option
@json_option
@click.pass_context
def rehearse(
    ctx: click.Context,
    ref: Reference | None,
    repo: str,
    branch: str,
    environment: str,
    folder: Path | None,
    gate: str,
    traffic: Path | None,
    rate: float,
    speed: float,
    timeout: float,
    labels_after: float,
    report: Path | None,
    settle: bool,
    via: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run a rollout on this machine: the Deployment and Canary in Git, real servers, a real proxy, the gate.

    Rehearses what the branch says, or REF in its place. Without --traffic it sends traffic.jsonl, or else the golden
    set, both from the model's folder in Git. An environment that is a Kustomize overlay is built with kustomize, or
    kubectl, from PATH.

    \b
    Examples:
      modelpack rehearse --speed 10
      modelpack rehearse registry.example.com/models/mpg:v2 --traffic traffic.jsonl --rate 200
      modelpack rehearse --repo git@example.com:team/serving.git --state var/rehearsal --no-settle
      modelpack rehearse --env staging

    Exit codes: 0 promoted, initialized or nothing to do; 5 a server was never ready; 7 rolled back; 8 no verdict.
    """
    from modelpack.fetch import resolve, unpack
    from modelpack.gitops import open_repository
    from modelpack.reconcile.settle import settle_once
    from modelpack.registry import Via
    from modelpack.rehearse.outcome import Result, write_report
    from modelpack.rehearse.overlay import build
    from modelpack.rehearse.plan import read_plan
    from modelpack.rehearse.session import Rehearsal, Settings
    from modelpack.rehearse.state import State
    from modelpack.store import home

    rules = Via.from_environ(via)
    settled: tuple[Settled, ...] = ()
    refused: ModelpackError | None = None
    if environment:
        repo, branch, environment = _home(repo, branch, ref, environment)
    with _terminable() as check, open_repository(repo, branch) as repository, _shown() as watch:
        named = resolve(ref, rules).reference if ref is not None else None
        built = partial(build, export=repository.export)
        plan = read_plan(repository.paths(), repository.read, named, environment, built)
        _read_gate(plan, bool(gate))
        image = resolve(plan.image, rules).reference
        state = State(folder or home() / "rehearsals" / _name(plan, repo))
        rehearsal = Rehearsal(
            plan,
            image,
            repository.tip,
            state,
            Settings(_requests(plan, traffic), rate, speed, timeout, gate, labels_after),
            unpack=partial(unpack, via=rules),
            export=repository.export,
            watch=watch,
            check=check,
        )
        with rehearsal:
            outcome = rehearsal.run()
            default = state.reports / str((outcome.rollout or {}).get("id") or outcome.status.checksum)
            written = report or default
            try:
                if settle and rehearsal.gate and outcome.result in (Result.ROLLED_BACK, Result.FAILED_BEFORE):
                    settled = tuple(settle_once(rehearsal.gate.address, repo, branch, rules, lasting=False))
            except ModelpackError as error:  # Git may refuse; what was found out is worth keeping, and more important
                refused = error
            finally:
                outcome = write_report(outcome, rehearsal.gate, written)
    notes = [f"{each.action.value}: {each.note}" + f" ({each.commit[:7]})" * bool(each.commit) for each in settled]
    notes += [f"Git was not set right: {refused}"] if refused else []
    emit(
        {
            **outcome.to_json(),
            "reason": outcome.reason,
            "settled": notes,
            "report": str(written),
            "state": str(state.folder),
        },
        "\n".join([_sentence(outcome), *notes, f"report: {written}", *([] if folder else [f"state: {state.folder}"])]),
        as_json,
    )
    ctx.exit(outcome.result.exit_code)


def _home(repo: str, branch: str, ref: Reference | None, name: str) -> tuple[str, str, str]:
    """The repository and the branch that an environment stands in, and its name there."""
    from modelpack.gitops import open_repository
    from modelpack.gitops.environment import environment_of, home_of, name_there
    from modelpack.rehearse.plan import find_model

    with open_repository(repo, branch) as repository:
        folder, model = find_model(repository.paths(), repository.read, ref)
        environment = environment_of(model, name, f"{folder}/model.yaml")
    if environment.repository:
        repo, branch = home_of(environment, repo, branch)
        with open_repository(repo, branch) as repository:
            _, model = find_model(repository.paths(), repository.read, ref)
        return repo, branch, name_there(model, environment)
    return *home_of(environment, repo, branch), name


def _read_gate(plan: Plan, asked: bool) -> None:
    """Raises what is wrong in the files that a gate will judge by, also where nothing is judged yet."""
    from modelpack.rehearse.hooks import is_for_gate

    try:
        from modelpack.gate.config import FILE, parse
    except ImportError:  # a gate elsewhere, asked by --gate, reads them itself
        return
    if asked or any(map(is_for_gate, plan.canary.webhooks)):
        files = {FILE: plan.gate, "golden.jsonl": plan.golden, **plan.others}
        parse({name: data for name, data in files.items() if data}, plan.folder, plan.definition.name)


def _name(plan: Plan, repo: str) -> str:
    """What the state folder is called: each repository, and each environment there, has a cluster of its own."""
    where = str(Path(repo).resolve()) if Path(repo).exists() else repo
    where += f"\n{plan.environment}" * bool(plan.environment)
    mark = hashlib.sha256(where.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{plan.canary.namespace}-{plan.canary.name}-{mark}"


def _requests(plan: Plan, file: Path | None) -> tuple[Request, ...]:
    from modelpack.rehearse.traffic import golden_traffic, read_traffic

    if file is not None:
        try:
            return read_traffic(file.read_bytes(), str(file))
        except OSError as error:
            raise InputError(file, f"cannot be read: {error.strerror}") from error
    if plan.traffic:
        return read_traffic(plan.traffic, f"{plan.folder}/traffic.jsonl")
    return golden_traffic(plan.gate, plan.golden, f"{plan.folder}/golden.jsonl")


def _sentence(outcome: Outcome) -> str:
    from modelpack.rehearse.outcome import Result

    version = Reference.parse(outcome.image).tag or outcome.image
    said = {
        Result.INITIALIZED: "serves as the primary now, the next version will be its canary",
        Result.UNCHANGED: "nothing to do, the primary serves it already",
        Result.PROMOTED: "promoted",
        Result.ROLLED_BACK: "rolled back",
        Result.FAILED_BEFORE: "nothing starts, this version was rolled back before; commit another, or revert it first",
        Result.HELD: "held without a verdict, a person has to decide",
        Result.TIMED_OUT: "no verdict before the timeout",
    }[outcome.result]
    reason = f": {outcome.reason}" if outcome.reason else ""
    traffic = f"; {outcome.traffic.sent} requests, {outcome.traffic.failed} failed" if outcome.traffic.sent else ""
    return f"{outcome.model} {version}: {said}{reason}{traffic}; {outcome.seconds:.1f} s"


@contextmanager
def _shown() -> Iterator[Callable[[Moment], None]]:
    """Yields what to tell each moment to: on stderr, a line where something changed, and a live one on a terminal."""
    live = None
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True)
        live = console.status("starting")
        live.start()
    last = warned = ""

    def watch(moment: Moment) -> None:
        nonlocal last, warned
        where = f"{moment.status.phase.value:<16} {moment.weight:>3}%"
        words = moment.message + (f" ({moment.reason})" if moment.reason else "")
        if live is not None:
            live.update(Text(f"{where}  {words}"[: console.width - 4]))
        if where != last or not moment.event or (moment.warning and words != warned):
            last, warned = where, words if moment.warning else warned
            click.echo(f"{moment.seconds:7.1f} s  {where}  {words}", err=True)

    try:
        yield watch
    finally:
        if live is not None:
            live.stop()


@contextmanager
def _terminable() -> Iterator[Callable[[], None]]:
    """While this runs, being told to end is like Ctrl-C: everything is cleaned up.

    Yields what raises the interrupt again: Python drops one that arrives while an object is being finalized.
    """
    told: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        told.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if told:
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heeded}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
