"""Where a rollout can be looked at: a cluster, or the state folder of a rehearsal."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import requests

from modelpack.errors import InputError, ModelpackError, NotFoundError, RemoteError
from modelpack.rehearse.http import request, why
from modelpack.rehearse.state import State
from modelpack.rollout import UNDER_WAY
from modelpack.rollout.observed import Observed
from modelpack.status.gate import LIST
from modelpack.status.view import Event
from modelpack.token import bearer

if TYPE_CHECKING:
    from modelpack.rollout.cluster import Cluster

GATE_SECONDS = 5.0
_PORT_SECONDS = 0.5
_GATE_SERVICE = ("modelpack", "modelpack-gate", "http")
_ASKED_FOR = "URL"  # whoever gave --gate knows it, and it may hold a password


class Scene(Protocol):
    """What a look asks. Each raises NotFoundError or RemoteError; `gate` gets a path of the gate's API."""

    def canaries(self, namespace: str | None) -> tuple[tuple[str, str], ...]: ...

    def observe(self, namespace: str, name: str) -> Observed: ...

    def events(self, namespace: str, name: str) -> tuple[Event, ...]: ...

    def gate(self, path: str) -> bytes: ...

    def gate_address(self) -> str:
        """What a person gives as --gate, "" where only the API server reaches it."""

    def stopped(self) -> bool:
        """Whether nothing moves here any more, although a rollout has not ended."""


class ClusterScene:
    """A cluster; its gate is reached through the API server's proxy, or at `gate_url`."""

    def __init__(self, cluster: Cluster, gate_url: str = "") -> None:
        self._cluster, self._gate_url = cluster, gate_url

    def canaries(self, namespace: str | None) -> tuple[tuple[str, str], ...]:
        return self._cluster.canaries(namespace)

    def observe(self, namespace: str, name: str) -> Observed:
        return self._cluster.observe(namespace, name)

    def events(self, namespace: str, name: str) -> tuple[Event, ...]:
        return tuple(
            Event(each.at, each.message, each.type == "Warning") for each in self._cluster.events(namespace, name)
        )

    def gate(self, path: str) -> bytes:
        if self._gate_url:
            return _get(self._gate_url, path)
        return self._cluster.proxied(*_GATE_SERVICE, path)

    def gate_address(self) -> str:
        return _ASKED_FOR if self._gate_url else ""

    def stopped(self) -> bool:
        return False


class RehearsalScene:
    """A rehearsal's state folder. Once the rehearsal has ended, and its gate with it, its last report speaks."""

    def __init__(self, folder: Path, gate_url: str = "") -> None:
        self._state = State(folder)
        self._gate_url = gate_url

    def canaries(self, namespace: str | None) -> tuple[tuple[str, str], ...]:
        target = self._target()
        found = (str(target["namespace"]), str(target["name"]))
        return (found,) if namespace in (None, found[0]) else ()

    def observe(self, namespace: str, name: str) -> Observed:
        """What target.json and cluster.json say; the latter changes in each tick that changes the status."""
        target, status = self._target(), self._state.load().status
        try:
            return Observed(
                namespace=str(target["namespace"]),
                name=str(target["name"]),
                phase=str(target["phase"]),
                weight=int(target["weight"]),
                failed_checks=status.failed_checks,
                iterations=status.iterations,
                last_applied=status.last_applied,
                last_promoted=status.last_promoted,
                last_transition=_changed(self._state.folder / "cluster.json"),
                message="",
                interval=float(target["interval"]),
                threshold=int(target.get("threshold", 0)),
                steps=tuple(int(each) for each in target.get("steps", ())),
                analysis_iterations=int(target.get("iterations", 0)),
                service=str(target["name"]),
                port=0,
                canary_image=str(target["canary"]["image"]),
                primary_image=str(target["primary"]["image"]),
                rollback=target.get("rollback") is True,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._foreign() from error

    def events(self, namespace: str, name: str) -> tuple[Event, ...]:
        return ()  # the gate has them

    def gate(self, path: str) -> bytes:
        if self._gate_url:
            return _get(self._gate_url, path)
        target = self._target()
        address = str(target.get("gate") or "")
        if address and self._listens(target):
            return _get(address, path)
        rollout = self._last_rollout(target)
        if rollout is not None:
            return json.dumps({"rollouts": [rollout]} if path == LIST else rollout).encode()
        if address:
            raise RemoteError("the gate", "ended with its rehearsal")
        return b'{"rollouts": []}'

    def gate_address(self) -> str:
        return _ASKED_FOR if self._gate_url else str(self._target().get("gate") or _ASKED_FOR)

    def stopped(self) -> bool:
        target = self._target()
        return target["phase"] in UNDER_WAY and not self._listens(target)

    def _target(self) -> dict[str, Any]:
        file = self._state.folder / "target.json"
        try:
            value = json.loads(file.read_bytes())
            if not all(isinstance(value[key], str) for key in ("namespace", "name", "phase")):
                raise ValueError("names")
        except FileNotFoundError as error:
            raise NotFoundError(
                self._state.folder, "holds no rehearsal", "name the folder that modelpack rehearse --state got"
            ) from error
        except OSError as error:
            raise RemoteError(file, f"cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise self._foreign() from error
        found: dict[str, Any] = value
        return found

    def _foreign(self) -> ModelpackError:
        file = self._state.folder / "target.json"
        return InputError(file, "is not what a rehearsal wrote", "remove the state folder to start anew")

    @staticmethod
    def _listens(target: dict[str, Any]) -> bool:
        """Whether the rehearsal's proxy runs, which lives as long as its rollout. The folder's lock is not tried: while
        it is, a rehearsal that starts would be refused."""
        place = urlsplit(str(target.get("metrics") or ""))
        try:
            with socket.create_connection((place.hostname or "", place.port or 0), _PORT_SECONDS):
                return True
        except (OSError, ValueError):
            return False

    def _last_rollout(self, target: dict[str, Any]) -> dict[str, Any] | None:
        """The gate's last word on this Canary, from the newest report."""
        for file in sorted(self._state.reports.glob("*/report.json"), key=_changed, reverse=True):
            try:
                found = json.loads(file.read_bytes())["rollout"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if isinstance(found, dict) and [found.get(key) for key in ("namespace", "name")] == [
                target["namespace"],
                target["name"],
            ]:
                return found
        return None


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _get(url: str, path: str) -> bytes:
    """Raises RemoteError whose words hold no password that the address may have."""
    try:
        response = request("GET", url.rstrip("/") + path, timeout=GATE_SECONDS, redirects=False, auth=bearer())
    except (requests.RequestException, ValueError) as error:
        problem = why(error) if isinstance(error, (requests.ConnectionError, requests.Timeout)) else "is no address"
        raise RemoteError("the gate", problem) from error
    if response.status_code != 200:
        raise RemoteError("the gate", f"answered {response.status_code}")
    return response.content
