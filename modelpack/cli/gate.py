"""`modelpack gate`: the metrics checker as a service."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from modelpack.errors import InputError


@click.group()
def gate() -> None:
    """The metrics checker that Flagger asks: may this canary be promoted?"""


@gate.command()
@click.option(
    "--rehearsal",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder with target.json and models/NAME/{gate.yaml,golden.jsonl}; gate.sqlite is kept there.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), show_default=True, help="Port; 0 takes a free one.")
@click.option("--json", "as_json", is_flag=True, help='Print {"url": …} when ready.')
def serve(folder: Path, host: str, port: int, as_json: bool) -> None:
    """Serve webhooks, JSON API and page until SIGTERM or Ctrl-C.

    \b
    Examples:
      modelpack gate serve --rehearsal var/rehearsal
      modelpack gate serve --rehearsal var/rehearsal --port 8080 --json

    The page is at /, the API at /api/v1/rollouts and /openapi.json, webhooks at /flagger/HOOK.
    A restarted gate goes on from the evidence in gate.sqlite.
    """
    try:
        from modelpack.gate.server import serve as run
    except ImportError as error:
        raise InputError(
            "modelpack gate", f"needs {error.name}", "run pip install 'modelpack-delivery[gate]'"
        ) from error

    def ready(url: str) -> None:
        click.echo(json.dumps({"url": url}) if as_json else f"gate at {url}")
        sys.stdout.flush()

    def stop(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)  # uvicorn takes over while it serves, and raises the signal again after
    signal.signal(signal.SIGINT, stop)
    run(folder, host, port, ready)
