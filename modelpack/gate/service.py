"""The gate over HTTP: Flagger's webhooks, the JSON API, the page, health and metrics."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from modelpack import __version__
from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.gate.access import OPEN, Access
from modelpack.gate.body import BoundedBody
from modelpack.gate.engine import Gate
from modelpack.gate.exposition import Exposition
from modelpack.gate.feedback_api import routes
from modelpack.gate.live import Live
from modelpack.gate.record import record
from modelpack.gate.refusals import add_refusals
from modelpack.gate.report import ASSETS_DIR, page_html, render_report
from modelpack.gate.rollouts import Rollout
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
from modelpack.gate.store import LISTED, Store
from modelpack.gate.verdict import PASSES
from modelpack.gate.watch import Watch
from modelpack.gate.webhooks import PATH, Calls, Webhooks

Hook = Enum("Hook", {name: name for name in PASSES}, type=str)  # type: ignore[misc]  # the names stand in one place
_Words = Annotated[str, Query(max_length=253, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Namespace = Annotated[str, Query(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


def create_app(gate: Gate, store: Store, watch: Watch | None = None, access: Access = OPEN) -> FastAPI:
    """The service around a gate, and a watch of what serves, that somebody else starts and stops. Flagger's webhooks
    and metrics need no token."""
    app = FastAPI(
        title="modelpack gate",
        version=__version__,
        description="The metrics checker that Flagger asks about a canary.",
        docs_url=None,
        redoc_url=None,
    )
    watch = watch or Watch(gate)
    exposition = Exposition(store, gate.config, watch, lambda: gate.leading)
    feedback, live = gate.feedback, Live()
    described_as = Depends(HTTPBearer(auto_error=False, description="a token, where the gate was given some"))
    reads, writes = [described_as, Depends(access.reader)], [described_as]
    calls = Calls(gate, exposition.count)
    app.add_middleware(Webhooks, calls=calls)
    app.add_middleware(BoundedBody)

    add_refusals(app)

    @app.post(PATH + "{hook}", response_class=PlainTextResponse, responses=_REFUSALS, tags=["flagger"])
    async def flagger(hook: Hook, body: Webhook) -> Response:
        """One of Flagger's webhooks: 200 to pass, 403 with the reason to refuse (`rollback` rolls back on 200)."""
        status, text = await calls.answer(body.call(hook.value))
        return PlainTextResponse(text, status)

    @app.get(
        "/api/v1/rollouts",
        response_model=RolloutList,
        responses=_TOKEN | _UNKNOWN,
        dependencies=reads,
        tags=["rollouts"],
    )
    def rollouts(
        request: Request,
        state: State | None = None,
        settled: bool | None = None,
        model: _Words | None = None,
        text: _Words = "",
        before: _Words = "",
        limit: Annotated[int, Query(ge=1, le=LISTED)] = LISTED,
    ) -> Any:
        """Rollouts, newest first, without their history: a page of those that fit, after the rollout `before`.

        `text` is part of an id, model, Canary or image. Who accepts text/event-stream gets the page again whenever a
        rollout on it has changed.
        """
        wanted = {"state": state, "settled": settled, "model": model}

        def page() -> tuple[list[Rollout], int]:
            return store.page(wanted, text, before, limit)

        def answer() -> dict[str, Any]:
            found, total = page()
            last = found[-1].id if found else ""
            more = bool(last) and bool(store.page(wanted, text, last, 1)[0])
            return {
                "rollouts": [view(each, gate, store, whole=False) for each in found],
                "total": total,
                "next": last if more else None,
                "models": sorted({key[2] for key in store.count()}),
            }

        try:
            key = f"?{(wanted, text, before, limit)}"
            if live.wants(request, key):
                return live.stream(key, page, partial(_json, RolloutList, answer))
            return answer()
        except NotFoundError as error:
            raise HTTPException(404, str(error)) from error

    @app.get(
        "/api/v1/rollouts/{rollout_id}",
        response_model=RolloutView,
        responses=_TOKEN | _UNKNOWN,
        dependencies=reads,
        tags=["rollouts"],
    )
    def rollout(request: Request, rollout_id: str) -> Any:
        """One rollout with its history, events and worst golden examples.

        Who accepts text/event-stream gets it again whenever it has changed.
        """
        if live.wants(request, rollout_id) and store.rollout(rollout_id):
            stamp, render = partial(store.stamp, rollout_id), partial(_json, RolloutView, partial(_whole, rollout_id))
            return live.stream(rollout_id, stamp, render)
        return _whole(rollout_id)

    @app.post(
        "/api/v1/rollouts/{rollout_id}/settled",
        response_model=Settled,
        responses=_TOKEN | _UNKNOWN,
        dependencies=[*writes, Depends(access.writer)],
        tags=["rollouts"],
    )
    def settle(rollout_id: str, body: Note) -> Any:
        """Note that Git has been brought in line with what serves."""
        found = gate.settle(rollout_id, body.text())
        if found is None:
            raise HTTPException(404, f"there is no rollout {rollout_id}")
        return {"id": found.id, "settled": found.settled, "settled_note": found.settled_note}

    @app.post(
        "/api/v1/rollouts/{rollout_id}/approval",
        response_model=Approved,
        responses=_TOKEN | _UNDECIDABLE,
        dependencies=writes,
        tags=["rollouts"],
    )
    def approve(rollout_id: str, body: ApprovalBody, who: str = Depends(access.writer)) -> Any:
        """Approve a rollout that is held, or reject one that is under way."""
        approval = body.approval(who)
        if approval is None:
            raise HTTPException(422, "by: is needed: this gate has no tokens, which would say who decides")
        try:
            found = gate.approve(rollout_id, approval)
        except RefusedError as error:
            raise HTTPException(409, str(error)) from error
        if found is None:
            raise HTTPException(404, f"there is no rollout {rollout_id}")
        return {"id": found.id, **vars(found.decision)}

    @app.get("/api/v1/models/{model}", responses=_TOKEN | _NO_MODEL, dependencies=reads, tags=["models"])
    def model(model: str, namespace: _Namespace = "default") -> dict[str, Any]:
        """What the gate would freeze for a rollout that starts now; a rehearsal has no namespaces."""
        try:
            config = gate.read_config(namespace, model)[1]
        except NotFoundError as error:
            raise HTTPException(404, f"there is no model {model}: {error}") from error
        except InputError as error:
            raise HTTPException(422, str(error)) from error
        checks = [
            {"name": each.name, "type": each.type, **described(each), "alpha": config.alpha_of(each)}
            for each in config.checks
        ]
        return {"model": config.name, "horizon": config.horizon, "alpha": config.alpha, "checks": checks}

    @app.get(
        "/rollouts/{rollout_id}/report.html",
        response_class=HTMLResponse,
        responses=_TOKEN | _UNKNOWN,
        dependencies=reads,
        tags=["page"],
    )
    def report(rollout_id: str) -> Response:
        """The decision report: one page with its data inside."""
        return HTMLResponse(render_report(_record(rollout_id)))

    @app.get("/rollouts/{rollout_id}/report.json", responses=_TOKEN | _UNKNOWN, dependencies=reads, tags=["page"])
    def report_json(rollout_id: str) -> Response:
        """The decision report as data: method, numbers, decision, and everything to reproduce it."""
        return JSONResponse(_record(rollout_id))  # by itself: it has nothing to convert, and may be long

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

    def _record(rollout_id: str) -> dict[str, Any]:
        whole = RolloutView.model_validate(_whole(rollout_id)).model_dump()
        found = store.rollout(rollout_id)
        return record(whole, store.files(rollout_id), gate.basis(found) if found else {})

    app.include_router(routes(feedback, watch, reads, [*writes, Depends(access.writer)]))
    app.mount("/assets", StaticFiles(directory=Path(ASSETS_DIR)), name="assets")
    app.state.close = live.close
    return app


_REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {"description": "refused, with the reason"},
    413: {"description": "the body is too long"},
}
_TOKEN: dict[int | str, dict[str, Any]] = {401: {"description": "a token is needed"}}
_NO_MODEL: dict[int | str, dict[str, Any]] = {
    404: {"description": "there is no such model"},
    422: {"description": "its gate.yaml or golden set cannot be read, with file and line"},
}
_UNDECIDABLE: dict[int | str, dict[str, Any]] = {
    404: {"description": "there is no such rollout"},
    409: {"description": "there is nothing to decide, with the reason"},
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "there is no such rollout"}}


def _json(kind: type[BaseModel], answer: Callable[[], Any]) -> str:
    return kind.model_validate(answer()).model_dump_json()
