"""The gate over HTTP: Flagger's webhooks, the JSON API, the page, health and metrics."""

from __future__ import annotations

import asyncio
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from modelpack import __version__
from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.gate.body import BoundedBody
from modelpack.gate.engine import Answer, Gate
from modelpack.gate.exposition import Exposition
from modelpack.gate.feedback_api import routes
from modelpack.gate.refusals import add_refusals
from modelpack.gate.report import ASSETS_DIR, page_html, render_report
from modelpack.gate.rollouts import Call
from modelpack.gate.schema import (
    ApprovalBody,
    Approved,
    Note,
    RolloutList,
    RolloutView,
    Settled,
    State,
    Webhook,
    described,
    view,
)
from modelpack.gate.store import Store
from modelpack.gate.verdict import PASSES
from modelpack.gate.watch import Watch

PRE_ROLLOUT_WAIT = 50.0  # seconds; the hook's timeout is to be 60 s

Hook = Enum("Hook", {name: name for name in PASSES}, type=str)  # type: ignore[misc]  # the names stand in one place
_Namespace = Annotated[str, Query(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


def create_app(gate: Gate, store: Store, watch: Watch | None = None) -> FastAPI:
    """The service around a gate, and a watch of what serves, that somebody else starts and stops."""
    app = FastAPI(
        title="modelpack gate",
        version=__version__,
        description="The metrics checker that Flagger asks about a canary.",
        docs_url=None,
        redoc_url=None,
    )
    watch = watch or Watch(gate)
    exposition, feedback = Exposition(store, gate.config, watch), gate.feedback
    app.add_middleware(BoundedBody)

    add_refusals(app)

    @app.post("/flagger/{hook}", response_class=PlainTextResponse, responses=_REFUSALS, tags=["flagger"])
    async def flagger(hook: Hook, body: Webhook) -> Response:
        """One of Flagger's webhooks: 200 to pass, 403 with the reason to refuse (`rollback` rolls back on 200)."""
        call = body.call(hook.value)
        answer = await _answer(gate, call)
        exposition.count(call.hook, answer.status)
        reason = answer.decision.reason.encode("utf-8", "replace").decode()
        return PlainTextResponse(f"{answer.decision.verdict}: {reason}\n", answer.status)

    @app.get("/api/v1/rollouts", response_model=RolloutList, tags=["rollouts"])
    def rollouts(
        state: State | None = None, settled: bool | None = None, model: str | None = Query(None, max_length=253)
    ) -> Any:
        """Rollouts, newest first, without their history."""
        found = store.rollouts(state=state, settled=settled, model=model)
        return {"rollouts": [view(each, gate, store, whole=False) for each in found]}

    @app.get("/api/v1/rollouts/{rollout_id}", response_model=RolloutView, responses=_UNKNOWN, tags=["rollouts"])
    def rollout(rollout_id: str) -> Any:
        """One rollout with its history, events and worst golden examples."""
        return _whole(rollout_id)

    @app.post("/api/v1/rollouts/{rollout_id}/settled", response_model=Settled, responses=_UNKNOWN, tags=["rollouts"])
    def settle(rollout_id: str, body: Note) -> Any:
        """Note that Git has been brought in line with what serves."""
        found = gate.settle(rollout_id, body.text())
        if found is None:
            raise HTTPException(404, f"there is no rollout {rollout_id}")
        return {"id": found.id, "settled": found.settled, "settled_note": found.settled_note}

    @app.post(
        "/api/v1/rollouts/{rollout_id}/approval", response_model=Approved, responses=_UNDECIDABLE, tags=["rollouts"]
    )
    def approve(rollout_id: str, body: ApprovalBody) -> Any:
        """Approve a rollout that is held, or reject one that is under way."""
        try:
            found = gate.approve(rollout_id, body.approval())
        except RefusedError as error:
            raise HTTPException(409, str(error)) from error
        if found is None:
            raise HTTPException(404, f"there is no rollout {rollout_id}")
        return {"id": found.id, **vars(found.decision)}

    @app.get("/api/v1/models/{model}", responses=_NO_MODEL, tags=["models"])
    def model(model: str, namespace: _Namespace = "default") -> dict[str, Any]:
        """What the gate would freeze for a rollout that starts now; a rehearsal has no namespaces."""
        try:
            config = gate.read_config(namespace, model)[1]
        except NotFoundError as error:
            raise HTTPException(404, str(error)) from error
        except InputError as error:
            raise HTTPException(422, str(error)) from error
        checks = [
            {"name": each.name, "type": each.type, **described(each), "alpha": config.alpha_of(each)}
            for each in config.checks
        ]
        return {"model": config.name, "horizon": config.horizon, "alpha": config.alpha, "checks": checks}

    @app.get("/rollouts/{rollout_id}/report.html", response_class=HTMLResponse, responses=_UNKNOWN, tags=["page"])
    def report(rollout_id: str) -> Response:
        """The decision report: one page with its data inside."""
        return HTMLResponse(render_report(RolloutView.model_validate(_whole(rollout_id)).model_dump()))

    @app.get("/", response_class=HTMLResponse, tags=["page"])
    def home() -> Response:
        return HTMLResponse(page_html(None))

    @app.get("/rollouts/{rollout_id}", response_class=HTMLResponse, responses=_UNKNOWN, tags=["page"])
    def page(rollout_id: str) -> Response:
        if store.rollout(rollout_id) is None:
            raise HTTPException(404, f"there is no rollout {rollout_id}")
        return HTMLResponse(page_html(rollout_id))

    @app.get("/metrics", response_class=PlainTextResponse, tags=["operation"])
    def metrics() -> Response:
        return Response(exposition.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/healthz", response_class=PlainTextResponse, tags=["operation"])
    def healthz() -> str:
        return "ok\n"

    @app.get(
        "/readyz", response_class=PlainTextResponse, responses={503: {"description": "not ready"}}, tags=["operation"]
    )
    def readyz() -> Response:
        """Ready while the store answers and the watcher watches, once the surroundings were reached."""
        store.open("", "")
        problem = gate.why_unready()
        return PlainTextResponse(f"{problem}\n", 503) if problem else PlainTextResponse("ok\n")

    def _whole(rollout_id: str) -> dict[str, Any]:
        found = store.rollout(rollout_id)
        if found is None:
            raise HTTPException(404, f"there is no rollout {rollout_id}")
        return {**view(found, gate, store, whole=True), "lineage": feedback.lineage(found.digest)}

    app.include_router(routes(feedback, watch))
    app.mount("/assets", StaticFiles(directory=Path(ASSETS_DIR)), name="assets")
    return app


_REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {"description": "refused, with the reason"},
    413: {"description": "the body is too long"},
}
_UNREADY: dict[int | str, dict[str, Any]] = {503: {"description": "not ready"}}
_NO_MODEL: dict[int | str, dict[str, Any]] = {
    404: {"description": "there is no such model"},
    422: {"description": "its gate.yaml or golden set cannot be read, with file and line"},
}
_UNDECIDABLE: dict[int | str, dict[str, Any]] = {
    404: {"description": "there is no such rollout"},
    409: {"description": "there is nothing to decide, with the reason"},
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "there is no such rollout"}}


async def _answer(gate: Gate, call: Call) -> Answer:
    """The answer to a call. pre-rollout waits for the golden set: where weights don't climb, no later hook would."""
    answer = await run_in_threadpool(gate.decide, call)
    if call.hook == "pre-rollout":
        waited = 0.0
        while gate.probing(answer.rollout) and waited < PRE_ROLLOUT_WAIT:
            await asyncio.sleep(0.1)
            waited += 0.1
        answer = await run_in_threadpool(gate.decide, call)
    await run_in_threadpool(gate.note, call, answer)
    return answer
