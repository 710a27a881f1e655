"""`modelpack gate`: the metrics checker as a service, and a person's word to it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from modelpack.cli.simulate import simulate
from modelpack.errors import InputError, NotFoundError, RefusedError, RemoteError
from modelpack.fields import read
from modelpack.token import TOKEN, bearer

if TYPE_CHECKING:
    from modelpack.gate.target import Surroundings

_TIMEOUT = 10.0  # seconds
_RECENT = 1.0  # seconds for which one reading of a Canary will do for answers that let nothing pass
_ERRORS = {401: RefusedError, 404: NotFoundError, 409: RefusedError, 422: InputError}


@click.group()
def gate() -> None:
    """The metrics checker that Flagger asks: may this canary be promoted?"""


gate.add_command(simulate)


@gate.command()
@click.option(
    "--rehearsal",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder with target.json and models/NAME/{gate.yaml,golden.jsonl}; gate.sqlite is kept there.",
)
@click.option(
    "--cluster",
    is_flag=True,
    help="Judge the Canaries of a Kubernetes cluster: the one this runs in, else $KUBECONFIG's.",
)
@click.option("--prometheus", metavar="URL", help="With --cluster: the Prometheus that scrapes the proxies.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --cluster: the folder that keeps gate.sqlite.",
)
@click.option("--context", metavar="NAME", help="With --cluster: a context of the kubeconfig.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), show_default=True, help="Port; 0 takes a free one.")
@click.option(
    "--feedback-port",
    type=click.IntRange(0, 65535),
    help="One more port, for model servers: it takes predictions and labels, and nothing else.",
)
@click.option(
    "--alerts",
    metavar="URL",
    envvar="MODELPACK_ALERTS",
    help="A webhook that hears when what serves calls for a new model, as Alertmanager's do (also $MODELPACK_ALERTS).",
)
@click.option(
    "--database",
    metavar="URL",
    envvar="MODELPACK_GATE_DATABASE",
    help="postgresql+psycopg://… in the place of gate.sqlite; several gates may share it.  [$MODELPACK_GATE_DATABASE]",
)
@click.option("--keep", metavar="DURATION", help="Forget rollouts that ended longer ago, as 90d.  [default: none]")
@click.option(
    "--tokens",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder with a token in each file, named for who has it; without a file nobody needs one. "
    "$MODELPACK_GATE_TOKENS: NAME=TOKEN ….",
)
@click.option("--anyone-reads", is_flag=True, help="Ask for tokens only where something is changed.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help='Print {"url": …} when ready.')
def serve(
    rehearsal: Path | None,
    cluster: bool,
    prometheus: str | None,
    state: Path | None,
    context: str | None,
    host: str,
    port: int,
    feedback_port: int | None,
    alerts: str | None,
    database: str | None,
    keep: str | None,
    tokens: Path | None,
    anyone_reads: bool,
    log_format: str,
    as_json: bool,
) -> None:
    """Serve webhooks, JSON API and page until SIGTERM or Ctrl-C.

    \b
    Examples:
      modelpack gate serve --rehearsal var/rehearsal
      modelpack gate serve --rehearsal var/rehearsal --port 8080 --json
      modelpack gate serve --cluster --prometheus http://prometheus.modelpack:9090 --state /var/lib/modelpack \\
          --host 0.0.0.0 --port 8080 --feedback-port 8081

    The page is at /, the API at /api/v1/rollouts and /openapi.json, webhooks at /flagger/HOOK.
    In a cluster a model is judged by the ConfigMap gate-MODEL (gate.yaml, golden.jsonl) in its Canary's namespace.
    A restarted gate goes on from the evidence in gate.sqlite or the database.
    """
    if (rehearsal is not None) == cluster:
        raise click.UsageError("give one of --rehearsal and --cluster")
    if cluster and not (prometheus and (state or database)):
        raise click.UsageError("--cluster needs --prometheus, and --state or --database")
    if not cluster and (prometheus or state or context):
        raise click.UsageError("--prometheus, --state and --context belong to --cluster")
    if prometheus and not prometheus.startswith(("http://", "https://")):
        raise click.BadParameter(f"{prometheus!r} is not an http address", param_hint="--prometheus")
    try:
        from modelpack.gate.access import Access
        from modelpack.gate.logs import begin
        from modelpack.gate.server import Options
        from modelpack.gate.server import serve as run
        from modelpack.gate.watch import receiver
    except ImportError as error:
        extras = "gate,cluster" if cluster else "gate"
        raise InputError(
            "modelpack gate", f"needs {error.name}", f"run pip install 'modelpack-delivery[{extras}]'"
        ) from error

    tell = receiver(alerts) if alerts else None

    def ready(url: str) -> None:
        click.echo(json.dumps({"url": url}) if as_json else f"gate at {url}")
        sys.stdout.flush()

    def stop(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    access = Access(tokens, os.environ.get("MODELPACK_GATE_TOKENS", ""), anyone_reads)
    options = Options(database or "", _seconds(keep) if keep else None, access, feedback_port)
    begin(log_format)
    signal.signal(signal.SIGTERM, stop)  # uvicorn takes over while it serves, and raises the signal again after
    signal.signal(signal.SIGINT, stop)
    if rehearsal is not None:
        from modelpack.gate.rehearsal import Rehearsal

        run(rehearsal, Rehearsal(rehearsal), host, port, ready, options, tell)
    elif prometheus:
        run(state, _in_cluster(context, prometheus), host, port, ready, options, tell)


def _in_cluster(context: str | None, prometheus: str) -> Surroundings:
    from modelpack.gate.cluster import InCluster
    from modelpack.rollout.cluster import Cluster

    return InCluster(Cluster.connect(context), prometheus, recent=_RECENT)


def _seconds(keep: str) -> float:
    try:
        return read(json.dumps({"keep": keep}), "--keep").duration("keep")
    except InputError as error:
        raise click.BadParameter(f"{keep!r} is not a duration; write it like 90d", param_hint="--keep") from error


def _decision(command: Any) -> Any:
    for option in (
        click.option("--note", default="", help="Why; it stands in the report."),
        click.option("--by", default="", metavar="NAME", help=f"Who decides, where no token in ${TOKEN} says it."),
        click.option(
            "--gate",
            "url",
            required=True,
            envvar="MODELPACK_GATE",
            show_envvar=True,
            metavar="URL",
            help="The gate's address.",
        ),
        click.argument("rollout"),
    ):
        command = option(command)
    return command


@gate.command()
@_decision
def approve(rollout: str, url: str, by: str, note: str) -> None:
    """Let a rollout that is held be promoted. Later evidence may still reject it.

    \b
    Example:
      kubectl port-forward -n modelpack service/modelpack-gate 8080:80
      modelpack gate approve mpg-1a2b3c4d --gate http://127.0.0.1:8080 --by ada --note "traffic is low at night"
    """
    _decide(url, rollout, {"decision": "approve", "by": by, "note": note})


@gate.command()
@_decision
def reject(rollout: str, url: str, by: str, note: str) -> None:
    """Have a rollout rolled back. That stays.

    \b
    Example:
      modelpack gate reject mpg-1a2b3c4d --gate http://127.0.0.1:8080 --by ada --note "wrong training data"
    """
    _decide(url, rollout, {"decision": "reject", "by": by, "note": note})


def _decide(url: str, rollout: str, body: dict[str, str]) -> None:
    import requests

    address = f"{url.rstrip('/')}/api/v1/rollouts/{quote(rollout, safe='')}/approval"
    if not (body["by"] or os.environ.get(TOKEN)):
        raise click.UsageError(f"say who decides: by a token in ${TOKEN}, or by --by")
    given = {key: value for key, value in body.items() if key != "by" or value}
    try:
        response = requests.post(address, json=given, timeout=_TIMEOUT, auth=bearer())
        answer = response.json() if response.ok else {}
    except (requests.RequestException, ValueError) as error:
        raise RemoteError(
            url, f"the gate does not answer ({type(error).__name__})", "give its address as --gate"
        ) from error
    if not response.ok:
        kind = _ERRORS.get(response.status_code, RemoteError)
        remedy = f"put one into ${TOKEN}" if response.status_code == 401 else ""
        if response.status_code == 422 and not body["by"]:
            remedy = "say who decides by --by NAME"
        raise kind("the gate", response.text.strip()[:500] or f"answered {response.status_code}", remedy)
    click.echo(f"{rollout}: {answer.get('reason')}")
