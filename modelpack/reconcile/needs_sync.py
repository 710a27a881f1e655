"""Answers over HTTP whether a model needs a run, or Git a newer version: what a ModelSync's `needsSyncUrl` asks.

GET /needsTrain and /needsSync, with ?model=NAME or below /models/NAME; the answer's shape is that of ModelSync's first
version. What cannot be told is 500 with errors, and never true. Nothing is changed by asking, and nothing is started.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from modelpack import gitops
from modelpack.errors import DeclinedError, InputError, ModelpackError, NotFoundError, RemoteError
from modelpack.gitops import digest_of
from modelpack.gitops.proposal import proposed
from modelpack.reconcile.deploy import Request, chosen, judge, open_place, outdated, propose_by_pull
from modelpack.reconcile.look import Rooms, Subject, look, subjects
from modelpack.reconcile.state import Memory
from modelpack.reconcile.train import run_of
from modelpack.reconcile.trainer import Action, decide
from modelpack.training.run import to_json

TRAIN, SYNC = "needsTrain", "needsSync"
FRESH_SECONDS = 10.0
"""An answer is given again for so long: whoever asks in a hurry costs no clone each time."""
_PATIENCE = 60.0  # seconds to wait for another answer that is being found
_MOST_AT_ONCE = 32
_IDLE_SECONDS = 10.0
_LONGEST_PATH = 1000
_PATH = re.compile(rf"(?:/models/([^/]+))?/({TRAIN}|{SYNC})")


@dataclass(frozen=True)
class Answer:
    """Whether it is needed, and what the run that follows is to be given: texts, the same each time it is asked."""

    needed: bool
    parameters: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


def ask(what: str, model: str, rooms: Rooms, memory: Memory, request: Request | None = None) -> Answer:
    """Look, and decide. `model` "" is the only one that there is.

    Raises NotFoundError for an unknown model, InputError where several are known and none is named, and whatever stands
    in the way of a sure answer.
    """
    with gitops.open_repository(rooms.location, rooms.branch) as repository:
        found = list(subjects(repository, (model,) if model else ()))
        if len(found) != 1:
            names = ", ".join(name for name, _ in found) or "none"
            raise InputError(what, f"is about which model? known are {names}", f"ask /models/NAME/{what}")
        subject = found[0][1]
        if isinstance(subject, ModelpackError):
            raise subject
        if what == TRAIN:
            return _train(subject, repository, rooms, memory)
        return _sync(subject, repository, rooms, request)


def _train(subject: Subject, repository: gitops.Repository, rooms: Rooms, memory: Memory) -> Answer:
    attempts = [each.attempt for each in memory.runs(subject.image.name)]
    versions = rooms.versions(subject)
    late = outdated(subject, repository, rooms, versions)
    seen = look(subject, repository, rooms, versions, attempts, late)
    decision = decide(seen.state)
    if decision.action is not Action.START:
        if seen.unsure and decision.action is Action.NOTHING:
            raise RemoteError(subject.name, "; ".join(seen.notes))
        return Answer(False, reason=decision.reason)
    run = replace(
        run_of(decision, subject, seen.state, repository.tip, rooms), created=0.0
    )  # the same each time it is asked
    words = ("id", "model", "version", "commit", "data", "code", "reason")
    parameters = {each: str(getattr(run, each)) for each in words}
    return Answer(True, {**parameters, "run": json.dumps(to_json(run), sort_keys=True)}, decision.reason)


def _sync(subject: Subject, repository: gitops.Repository, rooms: Rooms, request: Request | None) -> Answer:
    """Not needed while a pull request proposes just that, nor after a person closed it."""
    versions = rooms.versions(subject)
    with open_place(subject, repository, rooms) as place:
        decision = judge(subject, place, place.repository, versions)
        version = chosen(decision, versions)
        if version is None or version.reference is None:
            return Answer(False, reason=decision.reason)
        digest = version.reference.digest
        if subject.training.propose != "commit":
            try:
                pulled = propose_by_pull(subject, place, version, versions, rooms, request, dry_run=True)
            except DeclinedError as error:
                return Answer(False, reason=str(error))
            if pulled.pull and proposed(pulled.pull.body)[0] == digest:
                return Answer(False, reason=f"{pulled.pull.url} proposes it")
            if not pulled.change.files:
                return Answer(False, reason="Git names it")
            digest = digest_of(pulled.change.new)
    parameters = {"model": subject.name, "version": version.version, "image": str(version.reference), "digest": digest}
    return Answer(True, {**parameters, "reason": decision.reason}, decision.reason)


# -- over HTTP


def body(what: str, model: str, answer: Answer, errors: tuple[str, ...] = ()) -> dict[str, Any]:
    """The answer as ModelSync's controllers read it; with errors it is never needed."""
    value: dict[str, Any] = {
        "kind": "NeedsSync",
        "apiVersion": "v1alpha1",
        "metadata": {"name": model, "annotations": {"modelpack.dev/asked": what}},
        "needsSync": answer.needed and not errors,
        "parameters": {} if errors else dict(answer.parameters),
    }
    if answer.reason:
        value["metadata"]["annotations"]["modelpack.dev/reason"] = answer.reason
    return value | ({"errors": [{"message": each} for each in errors]} if errors else {})


class Answers:
    """Finds answers one at a time, and keeps each for a moment. `find` is `ask` with all but what and model."""

    def __init__(self, find: Callable[[str, str], Answer], clock: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], tuple[float, int, dict[str, Any]]] = {}

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON for a request's path."""
        url = urlsplit(path)
        found = _PATH.fullmatch(url.path)
        asked = parse_qs(url.query).get("model", [""])[-1]
        if not found or len(path) > _LONGEST_PATH:
            message = f"ask /{TRAIN} or /{SYNC}, with ?model=NAME or below /models/NAME"
            return 404, body("", "", Answer(False), (message,))
        model, what = unquote(found[1] or asked), found[2]
        if not self._lock.acquire(timeout=_PATIENCE):
            return 500, body(what, model, Answer(False), ("another answer takes long; ask again",))
        try:
            since, status, value = self._kept.get((what, model), (-FRESH_SECONDS - 1, 0, {}))
            if self._clock() - since > FRESH_SECONDS:
                status, value = self._look(what, model)
                self._keep((what, model), status, value)
            return status, value
        finally:
            self._lock.release()

    def _look(self, what: str, model: str) -> tuple[int, dict[str, Any]]:
        try:
            return 200, body(what, model, self._find(what, model))
        except NotFoundError as error:
            status, message = 404 if error.subject == model else 500, str(error)
        except ModelpackError as error:
            status, message = 500, str(error)
        except Exception as error:
            status, message = 500, f"a bug: {type(error).__name__}"
        return status, body(what, model, Answer(False), (message,))

    def _keep(self, key: tuple[str, str], status: int, value: dict[str, Any]) -> None:
        now = self._clock()
        self._kept = {each: kept for each, kept in self._kept.items() if now - kept[0] <= FRESH_SECONDS}
        if len(self._kept) < 1000 and status != 404:  # names that nobody knows take no room
            self._kept[key] = (now, status, value)


class Server(ThreadingHTTPServer):
    """Serves answers until `shutdown`; those beyond `_MOST_AT_ONCE` at a time are turned away."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.answers = answers
        self._free = threading.BoundedSemaphore(_MOST_AT_ONCE)
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            where = f"{address[0]}:{address[1]}"
            raise RemoteError(where, f"cannot be listened on: {error.strerror}", "choose another --port") from error

    @property
    def url(self) -> str:
        host = f"[{self.server_address[0]!s}]" if self.address_family == socket.AF_INET6 else self.server_address[0]
        return f"http://{host!s}:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _IDLE_SECONDS
    server: Server

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._say(200, {"status": "ok"})
            return
        self._say(*self.server.answers.answer(self.path))

    def _say(self, status: int, value: Mapping[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(data)

    def version_string(self) -> str:
        return "modelpack"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a path may hold what is nobody's business."""
