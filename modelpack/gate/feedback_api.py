"""The routes for what comes back from serving: predictions, labels, alerts, the signals they make; and lineage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, HTTPException, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints

from modelpack import __version__
from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.gate.body import LINEAGE, BoundedBody
from modelpack.gate.feedback import Feedback, Prediction
from modelpack.gate.refusals import add_refusals
from modelpack.gate.watch import Watch, worst
from modelpack.text import blanked

_MOST = 1000  # of a call
_DEEPEST = 40
_Model = Annotated[str, Path(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
_Namespace = Annotated[str, Query(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
_Word = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Value = bool | FiniteFloat | Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]


def _valid_unicode(text: str) -> str:
    text.encode()  # a lone surrogate cannot be stored
    return text


class PredictionBody(BaseModel):
    """One answer of a server. `version` is the model's version or digest, as the server knows it; `segment` what the
    request was about, as a region."""

    id: Annotated[_Word, AfterValidator(_valid_unicode)]
    prediction: _Value
    version: Annotated[_Word, AfterValidator(_valid_unicode)] | Literal[""] = ""
    segment: Annotated[_Word, AfterValidator(_valid_unicode)] | Literal[""] = ""


class PredictionsBody(BaseModel):
    predictions: list[PredictionBody] = Field(max_length=_MOST)


class LabelBody(BaseModel):
    """What was true of the request that a prediction with this id answered."""

    id: Annotated[_Word, AfterValidator(_valid_unicode)]
    truth: _Value


class LabelsBody(BaseModel):
    labels: list[LabelBody] = Field(max_length=_MOST)


class AlertBody(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = Field(default={}, max_length=100)
    annotations: dict[str, str] = Field(default={}, max_length=100)


class AlertsBody(BaseModel):
    """What Alertmanager posts to a webhook receiver (its data format, version 4)."""

    model_config = ConfigDict(extra="ignore")

    alerts: list[AlertBody] = Field(max_length=_MOST)


class Kept(BaseModel):
    new: int
    unknown: int = Field(0, description="labels whose prediction is not known yet: they wait for it")


class SignalView(BaseModel):
    name: str
    kind: Literal["labels", "drift", "proportion", "latency", "level", "alert"]
    stale: bool
    status: Literal["ok", "stale", "waiting", "unknown"] = Field(
        description="waiting for enough data; unknown if the metrics cannot be read"
    )
    reason: str
    version: str
    value: float | None
    limit: float | None
    n: int
    since: float | None = Field(description="unix seconds; when it began to call for a new model, null if it does not")


class Signals(BaseModel):
    model: str
    signals: list[SignalView]


class Health(BaseModel):
    """How a model does that serves; `status` is the worst of its signals'."""

    model: str
    namespace: str
    status: Literal["ok", "stale", "waiting", "unknown", "unwatched"]
    version: str = Field(description='what gave most of the last predictions, "" if nobody told any')
    signals: list[SignalView]


_NO_MODEL: dict[int | str, dict[str, Any]] = {
    404: {"description": "there is no such model"},
    422: {"description": "its gate.yaml cannot be read, with file and line"},
}
_TOKEN: dict[int | str, dict[str, Any]] = {401: {"description": "a token is needed"}}
_TOO_MANY: dict[int | str, dict[str, Any]] = {429: {"description": "the gate keeps what it is told of no more models"}}


def create_feedback_app(feedback: Feedback) -> FastAPI:
    """Predictions and labels alone, for a port that model servers may reach: nothing here approves, settles, shows."""
    app = FastAPI(title="modelpack gate: feedback", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(BoundedBody)
    add_refusals(app)
    app.include_router(told(feedback))
    return app


def told(feedback: Feedback) -> APIRouter:
    """What model servers tell."""
    router = APIRouter(tags=["feedback"])

    @router.post("/api/v1/models/{model}/predictions", response_model=Kept, responses=_TOO_MANY)
    def predictions(model: _Model, body: PredictionsBody) -> Any:
        """Keep answers by id, so that labels can be joined to them. An id that is known already stays as it is."""
        found = [Prediction(each.id, each.version, each.prediction, each.segment) for each in body.predictions]
        with _admitted():
            return {"new": feedback.add_predictions(model, found)}

    @router.post("/api/v1/models/{model}/labels", response_model=Kept, responses=_TOO_MANY)
    def labels(model: _Model, body: LabelsBody) -> Any:
        """Keep what was true, however late. One that comes again replaces what was said before."""
        with _admitted():
            new, unknown = feedback.add_labels(model, {each.id: each.truth for each in body.labels})
        return {"new": new, "unknown": unknown}

    return router


def routes(feedback: Feedback, watch: Watch, reads: Sequence[Any], writes: Sequence[Any]) -> APIRouter:
    """The routes around a memory and the watch that judges what serves, with who may read and write."""
    router = told(feedback)

    @router.post("/api/v1/alerts", response_model=Kept, responses=_TOKEN | _TOO_MANY, dependencies=writes)
    def alerts(body: AlertsBody) -> Any:
        """A receiver for Alertmanager: alerts with a label `model` call for a new one while they fire."""
        count = 0
        for each in body.alerts:
            model, name = each.labels.get("model", ""), _printable(each.labels.get("alertname", ""))
            if re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", model) and name:
                reason = _printable(each.annotations.get("summary", "")) or "it fires"
                with _admitted():
                    feedback.set_alert(model, name[:128], reason[:500], firing=each.status == "firing")
                count += 1
        return {"new": count}

    @router.get(
        "/api/v1/models/{model}/signals", response_model=Signals, responses=_TOKEN | _NO_MODEL, dependencies=reads
    )
    def signals(model: _Model, namespace: _Namespace = "default") -> Any:
        """Whether what is seen of a model while it serves calls for a new one."""
        return {"model": model, "signals": looked(namespace, model)}

    @router.get(
        "/api/v1/models/{model}/health", response_model=Health, responses=_TOKEN | _NO_MODEL, dependencies=reads
    )
    def health(model: _Model, namespace: _Namespace = "default") -> Any:
        """How a model does that serves, each signal with its number, its limit and of how many it is."""
        found = looked(namespace, model)
        version = next((each["version"] for each in found if each["version"]), "")
        version = version or watch.version(namespace, model)
        seen = {"model": model, "namespace": namespace, "version": version}
        return {**seen, "status": worst(found), "signals": found}

    def looked(namespace: str, model: str) -> list[dict[str, Any]]:
        try:
            return watch.look(namespace, model)
        except NotFoundError as error:
            raise HTTPException(404, f"there is no model {model}: {error}") from error
        except InputError as error:
            raise HTTPException(422, str(error)) from error

    @router.put(LINEAGE + "{digest}", status_code=204, responses=_TOKEN, dependencies=writes)
    def lineage(digest: Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")], body: dict[str, Any]) -> None:
        """Keep an image's chain of origin: the page of its rollout shows it."""
        if _depth(body) > _DEEPEST:
            raise HTTPException(422, f"the document is nested more than {_DEEPEST} deep")
        try:
            feedback.put_lineage(digest, body)
        except ValueError as error:
            raise HTTPException(422, "the document has a number that is not finite") from error

    return router


@contextmanager
def _admitted() -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise HTTPException(429, str(error)) from error


def _depth(value: Any) -> int:
    """How deep lists and mappings lie in each other, counted no further than is refused."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level, depth = [each for values in inner for each in values], depth + 1
    return depth


def _printable(text: str) -> str:
    return blanked(text).encode("utf-8", "replace").decode().strip()
