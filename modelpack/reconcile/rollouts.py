"""The gate's HTTP API, as far as reconcilers use it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from modelpack.errors import RemoteError
from modelpack.gitops.commit import one_line
from modelpack.gitops.program import without_login
from modelpack.token import bearer

_SECONDS = 30.0
_MOST_SIGNALS = 100
_NOT_SENSIBLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Rollout:
    """What the gate knows of one rollout. `image` is the canary's as it was bound, `primary` what served beside it.

    `started` and `ended` are in unix seconds; `ended` is 0.0 while it goes on.
    """

    id: str
    namespace: str
    name: str
    model: str
    image: str
    primary: str
    phase: str
    state: str
    verdict: str
    reason: str
    started: float
    ended: float = 0.0


@dataclass(frozen=True)
class Seen:
    """What the gate sees in a model that serves: an episode since `since` (unix seconds) if `stale`, of a version."""

    name: str
    stale: bool
    reason: str
    since: float
    version: str


class Gate:
    """A gate by its address. Every method raises RemoteError when it does not answer, or not sensibly."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._place = without_login(self.url)
        self._session = requests.Session()
        self._session.trust_env = False  # a gate is a neighbour: no proxy stands between
        self._session.auth = bearer()

    def unsettled(self, states: Iterable[str]) -> tuple[Rollout, ...]:
        """Rollouts in these states that nobody has settled, oldest first."""
        return _in_order(each for state in states for each in self._list(state=state, settled="false"))

    def beside(self, rollout: Rollout) -> tuple[Rollout, ...]:
        """The other rollouts of the same Canary that the gate lists, oldest first."""
        canary = (rollout.namespace, rollout.name)
        found = self._list(model=rollout.model)
        return _in_order(each for each in found if (each.namespace, each.name) == canary and each.id != rollout.id)

    def of_model(self, model: str) -> tuple[Rollout, ...]:
        """The rollouts of a model that the gate lists, of all its Canaries, oldest first."""
        return _in_order(self._list(model=model))

    def report(self, rollout: Rollout) -> Mapping[str, Any]:
        """All that the gate knows of a rollout: its JSON."""
        value = self._call("GET", f"/api/v1/rollouts/{rollout.id}")
        if not isinstance(value, dict):
            raise self._no_gate()
        return value

    def page(self, rollout: Rollout) -> str:
        """The address of a rollout's page, without a login."""
        return f"{self._place}/rollouts/{rollout.id}"

    def signals(self, model: str, namespace: str = "") -> tuple[Seen, ...]:
        """What it sees in a model that serves in a namespace; none for a model that it does not know."""
        where = {"params": {"namespace": namespace}} if namespace else {}
        path = f"/api/v1/models/{quote(model, safe='')}/signals"
        answer = self._call("GET", path, missing={"signals": []}, **where)
        try:
            return tuple(_seen(each) for each in answer["signals"][:_MOST_SIGNALS])
        except _NOT_SENSIBLE as error:
            raise self._no_gate() from error

    def put_lineage(self, digest: str, document: Mapping[str, Any]) -> None:
        """Give the gate an image's lineage, for the rollout's page."""
        self._call("PUT", f"/api/v1/lineage/{quote(digest, safe=':')}", json=document)

    def settle(self, rollout: Rollout, note: str) -> None:
        """Tell the gate that a rollout needs nothing more."""
        self._call("POST", f"/api/v1/rollouts/{rollout.id}/settled", json={"note": note})

    def _list(self, **wanted: str) -> list[Rollout]:
        answer = self._call("GET", "/api/v1/rollouts", params=wanted)
        try:
            return [_rollout(each) for each in answer["rollouts"]]
        except _NOT_SENSIBLE as error:
            raise self._no_gate() from error

    def _no_gate(self) -> RemoteError:
        return RemoteError(self._place, "does not answer like a gate", "is this the gate's address?")

    def _call(self, method: str, path: str, missing: Any = None, **arguments: Any) -> Any:
        try:
            answer = self._session.request(method, self.url + path, timeout=_SECONDS, **arguments)
        except (requests.RequestException, ValueError) as error:
            raise RemoteError(
                self._place, "the gate cannot be reached", "is it running, and is this its address?"
            ) from error
        if answer.status_code == 404 and missing is not None:
            return missing
        if answer.status_code == 204:
            return None
        if not answer.ok:
            raise RemoteError(
                self._place, f"the gate answered {answer.status_code} to {method} {path}: {answer.text[:200]}"
            )
        try:
            return answer.json()
        except ValueError as error:
            raise self._no_gate() from error


def _seen(value: Any) -> Seen:
    since = float(value.get("since") or 0.0)
    texts = (str(value.get("reason") or ""), since, str(value.get("version") or ""))
    return Seen(str(value["name"]), value["stale"] is True and math.isfinite(since), *texts)


def _rollout(value: Any) -> Rollout:
    return Rollout(
        id=str(value["id"]),
        namespace=str(value["namespace"]),
        name=str(value["name"]),
        model=str(value["model"]),
        image=str(value["image"]),
        primary=str(value["primary_image"]),
        phase=str(value["phase"]),
        state=str(value["state"]),
        verdict=str(value["verdict"]),
        reason=one_line(str(value["reason"])),
        started=float(value["started"]),
        ended=float(value.get("ended") or 0.0),
    )


def _in_order(rollouts: Iterable[Rollout]) -> tuple[Rollout, ...]:
    return tuple(sorted(rollouts, key=lambda each: each.started))
