"""operator: the controller of ModelSync objects in a cluster."""

from __future__ import annotations

import logging
import os
import re
import socket
import uuid

import click

from modelpack.errors import InputError

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@click.command()
@click.option("--namespace", "-n", "namespaces", multiple=True, metavar="NAME", help="Watch this one; repeatable.")
@click.option("--all-namespaces", "everywhere", is_flag=True, help="Watch all of them.")
@click.option(
    "--interval", default="1m", show_default=True, metavar="TIME", help="Ask again so often, unless a ModelSync says."
)
@click.option(
    "--timeout", default="1m", show_default=True, metavar="TIME", help="Give a needsSync service so long to answer."
)
@click.option(
    "--lease",
    default="",
    metavar="NAMESPACE/NAME",
    help="The Lease that several operators share: one of them acts.  [default: this one always acts]",
)
@click.option("--listen", default="", metavar="HOST:PORT", help="Answer GET /healthz there.  [default: nowhere]")
@click.option("--context", metavar="NAME", help="A context of the kubeconfig.  [default: the cluster this runs in]")
@click.option("--verbose", is_flag=True, help="Log what kopf does, too.")
def operator(
    namespaces: tuple[str, ...],
    everywhere: bool,
    interval: str,
    timeout: str,
    lease: str,
    listen: str,
    context: str | None,
    verbose: bool,
) -> None:
    """Watch ModelSync objects, and start their PipelineRuns.

    Each ModelSync names a service that says whether a run is needed (needsSync) and a template of the run. One run is
    active at a time; ended ones beyond the limits are removed. Needs Tekton Pipelines, and the definitions in
    manifests/reconciler. It can be stopped and started at any moment.

    \b
    Examples:
      modelpack operator --namespace modelpack-training
      modelpack operator --all-namespaces --lease modelpack/modelpack-operator --listen 0.0.0.0:8080
      kubectl get modelsyncs --all-namespaces

    Exit codes: 2 Tekton or the definitions are missing, 5 the API server is away.
    """
    from modelpack.operator.serve import Options, run

    if bool(namespaces) is everywhere:
        raise InputError("modelpack operator", "needs --namespace or --all-namespaces", "give one of them")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not verbose:
        logging.getLogger("kopf").setLevel(logging.WARNING)
        logging.getLogger("asyncio").setLevel(logging.WARNING)
        logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    run(
        Options(
            namespaces=namespaces,
            interval=_seconds("--interval", interval),
            timeout=_seconds("--timeout", timeout),
            lease=lease,
            listen=listen,
            identity=f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}",
            context=context,
        )
    )


def _seconds(option: str, text: str) -> float:
    found = _DURATION.fullmatch(text)
    parts = zip(found.groups(), (3600, 60, 1), strict=True) if found else ()
    seconds = sum(int(part) * unit for part, unit in parts if part)
    if seconds < 1:
        raise InputError(option, f"{text!r} is not a duration", "write it like 30s, 1m or 1h30m")
    return float(seconds)
