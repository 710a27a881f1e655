"""`modelpack status`."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelpack.cli.options import branch_option, emit, json_option, repo_option
from modelpack.errors import InputError, ModelpackError

if TYPE_CHECKING:
    from modelpack.status import Scene, Unseen, View

WATCH_SECONDS = 2.0
Look = Callable[[], "tuple[View | Unseen, ...]"]


@click.command()
@click.argument("name", required=False, default="", metavar="[CANARY|MODEL]")
@click.option("-n", "--namespace", metavar="NS", help="Where the Canary is; may stand in its name too, as NS/CANARY.")
@click.option("--context", metavar="CTX", help="The kubeconfig's context.  [default: the current one]")
@click.option("--gate", default="", metavar="URL", help="Ask this gate, not the cluster's or the rehearsal's own.")
@repo_option
@branch_option
@click.option("--state", "folder", type=click.Path(path_type=Path), help="Look at a rehearsal's state, not a cluster.")
@click.option("--watch", is_flag=True, help=f"Look every {WATCH_SECONDS:g} s until Ctrl-C.")
@json_option
@click.pass_context
def status(
    ctx: click.Context,
    name: str,
    namespace: str | None,
    context: str | None,
    gate: str,
    repo: str,
    branch: str,
    folder: Path | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Look at a rollout: Git, primary, canary, checks, events, and what comes next.

    Without a name it shows the only Canary there is, or one line for each. A gate or a repository that does not answer
    takes only its own lines away. With --watch it draws again on a terminal; elsewhere it prints what changed, with
    --json one object a line.

    \b
    Examples:
      modelpack status
      modelpack status mpg --namespace default --watch
      modelpack status --repo git@example.com:team/serving.git --json
      modelpack status --state var/rehearsal --watch

    Exit codes: 0 looked, 3 no such Canary, 5 the cluster cannot be reached, 130 a watch that was ended.
    """
    from modelpack.status import GitSource, look

    if folder is not None and context is not None:
        raise InputError("--state", "is a rehearsal's, --context a cluster's", "give one of them")
    source = ctx.get_parameter_source("repo")
    git = GitSource(repo, branch, optional=source is click.core.ParameterSource.DEFAULT)
    scene = _scene(folder, context, gate)

    def once() -> tuple[View | Unseen, ...]:
        return look(scene, git, time.time(), name, namespace)

    if not watch:
        views = once()
        emit(_value(views), _text(views), as_json)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.stdout.isatty() and not as_json:
        _draw(once)
    _print_changes(once, as_json)


def _scene(folder: Path | None, context: str | None, gate: str) -> Scene:
    from modelpack.status import ClusterScene, RehearsalScene

    if folder is not None:
        return RehearsalScene(folder, gate)
    from modelpack.rollout.cluster import Cluster
    from modelpack.store import home

    try:
        return ClusterScene(Cluster.connect(context), gate)
    except InputError as error:
        kept = sorted((home() / "rehearsals").glob("*/cluster.json"), key=lambda each: each.stat().st_mtime)
        if context is not None or not kept:
            raise
        remedy = f"set KUBECONFIG, or look at the last rehearsal by --state {kept[-1].parent}"
        raise InputError("a cluster", "is not configured", remedy) from error


def _text(views: Sequence[View | Unseen]) -> str:
    from modelpack.status import View, render, render_table

    first = views[0]
    return render(first) if len(views) == 1 and isinstance(first, View) else render_table(views)


def _value(views: Sequence[View | Unseen]) -> dict[str, Any]:
    return views[0].to_json() if len(views) == 1 else {"canaries": [each.to_json() for each in views]}


def _draw(once: Look) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    shown = Text(_text(once()))
    with Live(shown, console=Console(), auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            try:
                shown = Text(_text(once()))
                live.update(shown, refresh=True)
            except ModelpackError as error:  # it may be back at the next look
                live.update(Text.assemble(shown, f"\n\nnot up to date: {error}"), refresh=True)


def _print_changes(once: Look, as_json: bool) -> None:
    last: object = None
    views: tuple[View | Unseen, ...] = ()
    while True:
        try:
            views = once()
            now: object = [_lasting(each.to_json()) for each in views]
            value, text = _value(views), _text(views) + "\n"
        except ModelpackError as error:
            if not views:
                raise
            now, value, text = str(error), {"error": str(error)}, f"not up to date: {error}\n"
        if now != last:
            emit(value, text, as_json)
            sys.stdout.flush()
            last = now
        time.sleep(WATCH_SECONDS)


def _lasting(value: dict[str, Any]) -> dict[str, Any]:
    """A look without what changes with every second."""
    return {key: each for key, each in value.items() if key not in ("at", "next")}
