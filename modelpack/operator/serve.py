"""kopf at work: one watch on the ModelSyncs of each group and one on the PipelineRuns that carry our label.

kopf's handlers here only look on (`on.event`): it writes no annotation and no finalizer, so an object can be deleted
while the operator is down. The runs are an index, which kopf fills before it tells of any ModelSync.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from modelpack.apiserver import configured, proof
from modelpack.errors import InputError, RemoteError
from modelpack.operator.api import Api, connect
from modelpack.operator.lease import Lease
from modelpack.reconcile.modelsync import OWNER_LABEL, PLURAL, VERSIONS, Run, run_of
from modelpack.reconcile.pipeline_run import API_VERSION
from modelpack.reconcile.pipeline_run import PLURAL as RUNS

_TEKTON, _TEKTON_VERSION = API_VERSION.split("/")
_STUCK = 60.0  # seconds without a round after which the liveness endpoint says no
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """`namespaces` are those to watch, none for all; `interval` and `timeout` (of an answer) are in seconds; `lease` is
    NAMESPACE/NAME of the Lease that operators beside this one share, "" if there is none; `listen` is HOST:PORT of the
    liveness endpoint or ""."""

    namespaces: tuple[str, ...]
    interval: float = 60.0
    timeout: float = 60.0
    lease: str = ""
    listen: str = ""
    identity: str = ""
    context: str | None = None


class _Endless:
    """Seconds between tries of the API server. No end: it comes back, and an operator that gave up would not."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0), itertools.repeat(20.0))


def run(options: Options) -> None:
    """Until a signal ends it. Raises InputError if the cluster lacks what is needed, RemoteError if it is away."""
    try:
        import aiohttp  # noqa: F401
        import kopf  # noqa: F401
    except ImportError as error:
        remedy = "run pip install 'modelpack-delivery[operator]' with Python 3.11 or later"
        raise InputError("the operator", f"needs {error.name}", remedy) from error
    settings = configured(options.context)
    api = Api(connect(settings))
    groups = api.groups()
    failed = asyncio.run(_serve(options, settings, api, groups))
    if failed:
        raise RemoteError("the operator", failed, "it has to be started again")


async def _serve(options: Options, settings: Any, api: Api, groups: tuple[str, ...]) -> str:
    """Why it ended by itself, "" after a signal."""
    import kopf

    from modelpack.operator.ask import Asker
    from modelpack.operator.loop import Loop

    registry = kopf.OperatorRegistry()
    stop = asyncio.Event()
    failures: list[str] = []
    runs: dict[str, kopf.Index[str, Run]] = {}
    with ThreadPoolExecutor(1, "lease") as executor:
        lease = _lease(options, api, executor)
        async with Asker(options.timeout) as asker:
            loop = Loop(
                api=api,
                ask=asker,
                owned=lambda uid: list(runs["owned"].get(uid, ())),
                leads=lease.held if lease else lambda: True,
                interval=options.interval,
            )
            tasks: list[asyncio.Task[None]] = []

            def ended(task: asyncio.Task[None]) -> None:
                if not task.cancelled():
                    _log.error("the operator stops: its loop ended", exc_info=task.exception())
                    failures.append(f"its loop ended: {task.exception()}")
                    stop.set()

            @kopf.on.startup(id="start", registry=registry)
            async def start(**given: Any) -> None:
                _configure(given["settings"])
                runs["owned"] = given["owned"]
                if lease:
                    lease.changed = loop.look_at_all
                for work in (loop.run(), *((lease.keep(),) if lease else ())):
                    tasks.append(asyncio.create_task(work))
                    tasks[-1].add_done_callback(ended)

            @kopf.on.cleanup(id="end", registry=registry)
            async def end(**_: Any) -> None:
                for each in tasks:
                    each.cancel()
                    with suppress(asyncio.CancelledError):
                        await each
                loop.close()
                if lease:
                    await lease.release()

            @kopf.on.login(id="login", registry=registry)
            def login(**_: Any) -> kopf.ConnectionInfo:
                scheme, _space, token = proof(settings).get("authorization", "").partition(" ")
                return kopf.ConnectionInfo(
                    server=settings.host,
                    ca_path=settings.ssl_ca_cert,
                    insecure=not settings.verify_ssl,
                    certificate_path=settings.cert_file,
                    private_key_path=settings.key_file,
                    scheme=scheme or None,
                    token=token or None,
                )

            @kopf.on.probe(id="round", registry=registry)
            def rounds(**_: Any) -> float:
                """A loop that hangs is restarted."""
                since = time.monotonic() - loop.looked
                if since > _STUCK:
                    raise kopf.PermanentError(f"no round for {since:.0f} s")
                return round(since, 1)

            @kopf.index(_TEKTON, _TEKTON_VERSION, RUNS, id="owned", registry=registry)
            def owned(body: kopf.Body, **_: Any) -> dict[str, Run] | None:
                found = run_of(body)
                return {found.owner: found} if found else None

            @kopf.on.event(_TEKTON, _TEKTON_VERSION, RUNS, id="heard", registry=registry)
            async def heard(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
                if found := run_of(body):
                    loop.heard_of(found.owner, gone=found.uid if event["type"] == "DELETED" else "")

            async def saw(event: kopf.RawEvent, **_: Any) -> None:
                if event["type"] == "DELETED":
                    loop.forget(str(event["object"]["metadata"]["uid"]))
                else:
                    loop.saw(event["object"], listed=event["type"] is None)

            for group in groups:
                kopf.on.event(group, VERSIONS[group], PLURAL, id=f"saw-{group}", registry=registry)(saw)

            await kopf.operator(
                registry=registry,
                identity=cast(Any, options.identity),  # kopf's own asks who the user is, whom an image may not know
                standalone=True,
                clusterwide=not options.namespaces,
                namespaces=options.namespaces,
                liveness_endpoint=f"http://{options.listen}/healthz" if options.listen else None,
                stop_flag=stop,
            )
    return failures[0] if failures else ""


def _lease(options: Options, api: Api, executor: ThreadPoolExecutor) -> Lease | None:
    if not options.lease:
        return None
    namespace, slash, name = options.lease.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise InputError("--lease", f"{options.lease!r} names no Lease", "write NAMESPACE/NAME")
    return Lease(api, namespace, name, options.identity, time.monotonic, executor)


def _configure(settings: Any) -> None:
    """kopf with nothing to write, and nothing to look at but what is watched."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.networking.error_backoffs = _Endless()
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    settings.watching.connect_timeout = 10.0
    settings.watching.label_selectors[_TEKTON, _TEKTON_VERSION, RUNS] = OWNER_LABEL
    settings.process.ultimate_exiting_timeout = 60.0
