"""Keeps watching what serves, after the promotion: judges each model's signals again and again, and tells of them.

A thread of its own looks at every model that a Canary ever called for, so that a drift is found though nobody asks. Of
several gates on one database it is the one with the lease that does.
Whoever runs the gate says where to tell: an address that a gate.yaml could name would be anybody's to choose.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests

from modelpack.errors import InputError, ModelpackError, RemoteError
from modelpack.gate.config import GateConfig
from modelpack.gate.feedback import TELLING, TOLD, Episode, Feedback
from modelpack.gate.samples import MetricSource
from modelpack.gate.serving import OK, STALE, UNKNOWN, WAITING, Level, Share, Signal

EVERY = 30.0  # seconds between rounds
PAUSE = 0.01  # seconds between models: calls want the processor and the database, too
TIMEOUT = 5.0  # seconds for a receiver to answer
UNWATCHED = "unwatched"
STATUSES = (STALE, UNKNOWN, WAITING, OK)  # the worst first
_log = logging.getLogger(__name__)

Found = list[dict[str, Any]]
Tell = Callable[[Episode], None]


class Gate(Protocol):
    """What is asked of the gate."""

    feedback: Feedback

    @property
    def leading(self) -> bool: ...

    def read_config(self, namespace: str, model: str) -> tuple[Mapping[str, bytes], GateConfig]: ...

    def canaries(self) -> Mapping[tuple[str, str], str]: ...

    def metrics(self, namespace: str, name: str) -> MetricSource: ...

    def serves(self, namespace: str, name: str) -> str: ...

    def now(self) -> float: ...


class Watch:
    """Judges what serves. `start` and `stop` frame its rounds; `look` works without."""

    def __init__(self, gate: Gate, tell: Tell | None = None) -> None:
        self._gate = gate
        self._tell = tell
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._rounds, daemon=True, name="watch")
        self.latest: dict[tuple[str, str, str], Found] = {}  # by namespace, Canary and model

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT)

    def look(self, namespace: str, model: str) -> Found:
        """A model's signals now; raises ModelpackError for a model that nobody knows, or a gate.yaml that is wrong."""
        specs = self._gate.read_config(namespace, model)[1].signals
        told = [each for each in specs if not isinstance(each, Share | Level)]
        asked = [each for each in specs if isinstance(each, Share | Level)]
        measured = self._measure(namespace, self._served().get((namespace, model), model), asked) if asked else []
        return self._gate.feedback.signals(model, told, measured, namespace)

    def version(self, namespace: str, model: str) -> str:
        """The version of a model that its Canary's primary runs, "" if nobody knows."""
        name = self._served().get((namespace, model), "")
        with suppress(ModelpackError):
            return self._gate.serves(namespace, name) if name else ""
        return ""

    def round(self) -> None:
        """One look at every model, and what is new told."""
        latest: dict[tuple[str, str, str], Found] = {}
        for (namespace, model), name in self._served().items():
            if self._stopped.wait(PAUSE) or not self._gate.leading:
                break
            try:
                latest[namespace, name, model] = self.look(namespace, model)
                if self._tell:
                    self._spread(self._gate.feedback.untold(model, namespace), self._tell)
            except ModelpackError as error:
                unread = Signal("gate.yaml", "file", False, str(error), unreadable=True)
                latest[namespace, name, model] = [{**vars(unread), "status": unread.status}]
        self.latest = latest if self._gate.leading else {}

    def _measure(self, namespace: str, name: str, asked: Iterable[Share | Level]) -> list[Signal]:
        """What Prometheus says: all of one time, for which it has a few seconds together."""
        values, at = {"namespace": namespace, "name": name, "role": "primary"}, self._gate.now()
        try:
            source = self._gate.metrics(namespace, name)
        except ModelpackError as error:
            return [_unread(each, error) for each in asked]
        found = []
        for each in asked:
            try:
                found.append(each.judge(lambda text: source.query(text, at), values))
            except ModelpackError as error:
                found.append(_unread(each, error))
        return found

    def _served(self) -> Mapping[tuple[str, str], str]:
        """By namespace and model the Canary whose counters are read: the first by name, where several serve it."""
        canaries = sorted(self._gate.canaries().items(), reverse=True)
        return {(namespace, model): name for (namespace, name), model in canaries}

    def _spread(self, news: Iterable[Episode], tell: Tell) -> None:
        for each in news:
            self._gate.feedback.mark(each, TELLING)
            try:
                tell(each)
            except ModelpackError as error:
                self._gate.feedback.mark(each, "")
                _log.warning("nobody is told of %s of %s: %s", each.name, each.model, error)
                return
            self._gate.feedback.mark(each, TOLD)

    def _rounds(self) -> None:
        while True:
            try:
                self.round()
            except Exception:
                _log.exception("the watch goes on after a bug")
            if self._stopped.wait(EVERY):
                return


def _unread(spec: Share | Level, error: ModelpackError) -> Signal:
    kind = spec.kind if isinstance(spec, Share) else "level"
    return Signal(spec.name, kind, False, str(error), unreadable=True)


def worst(found: Found) -> str:
    """The status of a model, of its signals'."""
    statuses = {each["status"] for each in found}
    return next((each for each in STATUSES if each in statuses), UNWATCHED)


def receiver(url: str) -> Tell:
    """A webhook that is told as Alertmanager tells (its data format, version 4); raises InputError for no address.

    Follows no redirect, reads no answer, and names no more of the address than its host: the rest may be a secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("the receiver of alerts", "is not an http address", "write it like https://host/path")
    place = f"{parts.scheme}://{parts.hostname}"
    session = requests.Session()
    session.trust_env = False  # no login of ~/.netrc goes there

    def tell(episode: Episode) -> None:
        try:
            sent = session.post(url, json=message(episode), timeout=TIMEOUT, allow_redirects=False, stream=True)
        except (requests.RequestException, ValueError) as error:
            raise RemoteError(place, f"cannot be reached ({type(error).__name__})") from None
        sent.close()
        if not 200 <= sent.status_code < 300:
            raise RemoteError(place, f"answered {sent.status_code}")

    return tell


def message(episode: Episode) -> dict[str, Any]:
    """What Alertmanager would post of it."""
    labels = {key: getattr(episode, key) for key in ("model", "namespace", "kind")}
    labels |= {"alertname": "ModelStale", "signal": episode.name}
    status, notes = "firing" if episode.ended is None else "resolved", {"summary": episode.reason}
    times = {"startsAt": _time(episode.since), "endsAt": _time(episode.ended)}
    return {
        "version": "4",
        "receiver": "modelpack-gate",
        "status": status,
        "groupLabels": {},
        "commonLabels": labels,
        "commonAnnotations": notes,
        "alerts": [{"status": status, "labels": labels, "annotations": notes, **times}],
    }


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "0001-01-01T00:00:00Z"  # as Alertmanager has what is not over
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
