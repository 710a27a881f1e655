"""Runs at a service that starts training jobs: POST starts one, GET tells how it stands, DELETE ends it.

POST `URL` with `{"run": …, "timeout": seconds}` and the run's id as Idempotency-Key; any 2xx, or 409 for one that is
there. GET `URL/ID` gives `{"state", "message", "started", "ended", "retryable", "result"}`, of which only `state` has
to be there; 404 for one that nobody knows. GET `URL/ID/log` gives text. DELETE `URL/ID` ends a run that goes on, and
forgets one that is over. The token in $MODELPACK_RUNS_TOKEN is sent as a bearer token to $MODELPACK_RUNS_HOST alone,
never in the clear, and follows no redirect.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from modelpack.errors import InputError, ModelpackError, RefusedError, RemoteError
from modelpack.gitops.program import without_login
from modelpack.training.definition import Training
from modelpack.training.folder import seen_from_json
from modelpack.training.run import Run, Seen, State, to_json

TOKEN = "MODELPACK_RUNS_TOKEN"  # noqa: S105  (a variable's name)
HOST = "MODELPACK_RUNS_HOST"
TIMEOUT = (10.0, 30.0)  # seconds to connect, and between bytes
_LARGEST = 4 << 20  # bytes of an answer
_HERE = ("127.0.0.1", "::1", "localhost")
_PORTS = {"https": 443, "http": 80}
_PLAIN = re.compile(r"[a-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9a-f:.]+\](?::[0-9]{1,5})?")
"""A host as every parser of addresses understands it; of one with a login or a backslash they think differently."""


def token_for(url: str) -> str:
    """The token, if the address is of the host that it is meant for, else "": training.yaml names the address, and who
    wrote that is not who set the token.

    Raises RefusedError where nobody said for which host it is, or it would go there in the clear; InputError for what
    is no address.
    """
    token, meant = os.environ.get(TOKEN, ""), os.environ.get(HOST, "").strip().lower()
    if not token:
        return ""
    shown = without_login(url)
    if not meant:
        raise RefusedError(shown, f"${TOKEN} does not say for which host it is", f"set ${HOST} to that host")
    if not _PLAIN.fullmatch(meant):
        raise InputError(f"${HOST}", f"{meant[:100]!r} is not a host", "write it like runs.example.com:8443")
    try:
        parts = urlsplit(url)
        port = _PORTS.get(parts.scheme, 0)
        there, asked = urlsplit(f"//{meant}"), parts.netloc.lower()
        same = (there.hostname, there.port or port) == (parts.hostname, parts.port or port)
    except ValueError as error:
        raise InputError(shown, "is no address", "look at runs.url") from error
    if not (same and url.isascii() and url.isprintable() and _PLAIN.fullmatch(asked)):
        return ""
    if parts.scheme != "https" and parts.hostname not in _HERE:
        raise RefusedError(shown, "a token would go there in the clear", "name an https address")
    return token


@dataclass(frozen=True)
class Remote:
    """One service. `url` has no query."""

    url: str

    def start(self, run: Run, training: Training) -> None:
        body = json.dumps({"run": to_json(run), "timeout": training.runs.timeout}).encode()
        status, answer = self._send("POST", self.url, body, {"Idempotency-Key": run.id})
        if status != 409:
            self._check(status, answer)

    def look(self, run: Run) -> Seen:
        status, answer = self._send("GET", self._place(run))
        if status == 404:
            return Seen(State.LOST, "the service knows nothing of it", retryable=True)
        self._check(status, answer)
        try:
            return seen_from_json(json.loads(answer))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RemoteError(self._shown, "its answer does not say how a run stands", "try again") from error

    def cancel(self, run: Run) -> None:
        if not self.look(run).state.over:
            self._delete(run)

    def log(self, run: Run) -> str:
        status, answer = self._send("GET", f"{self._place(run)}/log")
        return answer.decode(errors="replace") if status == 200 else ""

    def remove(self, run: Run) -> None:
        if self.look(run).state.over:
            self._delete(run)

    def runs(self, model: str) -> tuple[Run, ...]:
        return ()

    def _delete(self, run: Run) -> None:
        status, answer = self._send("DELETE", self._place(run))
        if status != 404:
            self._check(status, answer)

    def _place(self, run: Run) -> str:
        return f"{self.url.rstrip('/')}/{quote(run.id, safe='')}"

    @property
    def _shown(self) -> str:
        return without_login(self.url)

    def _send(
        self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        import requests

        told = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            told["Content-Type"] = "application/json"
        if token := token_for(self.url):
            told["Authorization"] = f"Bearer {token}"
        try:
            with requests.request(
                method,
                url,
                data=body,
                headers=told,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
                auth=lambda request: request,  # else requests takes a login for the host out of ~/.netrc
            ) as answer:
                data: Any = answer.raw.read(_LARGEST + 1, decode_content=True)
                status = answer.status_code
        except (requests.RequestException, OSError, ValueError) as error:  # ValueError: as of a host of 300 letters
            said = f"cannot be reached ({type(error).__name__})"
            raise RemoteError(self._shown, said, "look at runs.url, try again") from error
        if len(data) > _LARGEST:
            raise RemoteError(self._shown, f"answered more than {_LARGEST} bytes")
        return int(status), bytes(data)

    def _check(self, status: int, answer: bytes) -> None:
        if 200 <= status < 300:
            return
        said = " ".join(answer[:300].decode(errors="replace").split())
        raise self._refusal(status, f"answered {status}{f': {said}' if said else ''}")

    def _refusal(self, status: int, problem: str) -> ModelpackError:
        if status in (401, 403):
            return RefusedError(
                self._shown, problem, f"set ${TOKEN} to a token that may do it, and ${HOST} to its host"
            )
        if status in (400, 404, 405, 422):
            return InputError(self._shown, problem, "look at runs.url")
        return RemoteError(self._shown, problem, "try again")
