"""The gate's HTTP API, as far as reconcilers use it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import requests

from modelpack.errors import RemoteError

_SECONDS = 30.0


@dataclass(frozen=True)
class Rollout:
    """What the gate knows of one rollout. `image` is the canary's as it was bound, `primary` what served beside it."""

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


class Gate:
    """A gate by its address. Every method raises RemoteError when it does not answer, or not sensibly."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # a gate is a neighbour: no proxy stands between

    def unsettled(self, states: Iterable[str]) -> tuple[Rollout, ...]:
        """Rollouts in these states that nobody has settled, oldest first."""
        found = []
        for state in states:
            answer = self._call("GET", "/api/v1/rollouts", params={"state": state, "settled": "false"})
            try:
                found += [(float(each["started"]), _rollout(each)) for each in answer["rollouts"]]
            except (KeyError, TypeError, ValueError) as error:
                raise RemoteError(self.url, "does not answer like a gate", "is this the gate's address?") from error
        return tuple(rollout for _, rollout in sorted(found, key=lambda pair: pair[0]))

    def settle(self, rollout: Rollout, note: str) -> None:
        """Tell the gate that a rollout needs nothing more."""
        self._call("POST", f"/api/v1/rollouts/{rollout.id}/settled", json={"note": note})

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._session.request(method, self.url + path, timeout=_SECONDS, **arguments)
        except (requests.RequestException, ValueError) as error:
            raise RemoteError(
                self.url, "the gate cannot be reached", "is it running, and is this its address?"
            ) from error
        if not answer.ok:
            raise RemoteError(
                self.url, f"the gate answered {answer.status_code} to {method} {path}: {answer.text[:200]}"
            )
        try:
            return answer.json()
        except ValueError as error:
            raise RemoteError(self.url, "does not answer like a gate", "is this the gate's address?") from error


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
        reason=str(value["reason"]),
    )
