"""The gate, as a rehearsal sees it: a process of its own or somebody's address, asked over HTTP."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import requests

from modelpack.errors import InputError, RemoteError
from modelpack.rehearse.http import request, why
from modelpack.rehearse.processes import Processes
from modelpack.rehearse.state import State
from modelpack.text import blanked
from modelpack.token import bearer

_START_SECONDS = 30.0
_TIMEOUT = 10.0
_ANOTHER_GATES = ("MODELPACK_GATE_DATABASE", "MODELPACK_GATE_TOKENS", "MODELPACK_ALERTS")


class Gate:
    """What the gate knows about rollouts. `address` is its base, also of its pages."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def rollout(self, namespace: str, name: str, checksum: str) -> dict[str, Any] | None:
        """The newest rollout of a Canary with this checksum, as the gate's JSON without history; None if there is none.

        Raises RemoteError if the gate does not answer as it should.
        """
        found = self._get("/api/v1/rollouts").json().get("rollouts", [])
        wanted = (namespace, name, checksum)
        return next((each for each in found if tuple(map(each.get, ("namespace", "name", "checksum"))) == wanted), None)

    def check(self, model: str) -> str:
        """Have the gate read a model's gate.yaml and golden set; raises InputError with what is wrong in them.

        Gives why it does not let them be read, "" if it does. One that is down says nothing, and decides nothing later.
        """
        try:
            response = request("GET", f"{self.address}/api/v1/models/{model}", timeout=_TIMEOUT, auth=bearer())
        except requests.RequestException:
            return ""
        if response.status_code in (404, 422):
            raise InputError("the gate", response.text.strip())
        return blanked(response.text).strip()[:500] if response.status_code == 401 else ""

    def add_labels(self, model: str, truths: Mapping[str, Any]) -> None:
        """Tell what was true, by the ids of requests. Raises RemoteError if the gate does not take it."""
        url = f"{self.address}/api/v1/models/{model}/labels"
        body = {"labels": [{"id": each, "truth": truth} for each, truth in truths.items()]}
        try:
            request("POST", url, json=body, timeout=_TIMEOUT).raise_for_status()
        except requests.RequestException as error:
            raise RemoteError(url, f"the gate does not take labels: {why(error)}") from error

    def details(self, rollout: str) -> dict[str, Any]:
        """One rollout with everything that is known about it."""
        value: dict[str, Any] = self._get(f"/api/v1/rollouts/{rollout}").json()
        return value

    def page(self, rollout: str) -> bytes:
        """A rollout's page that opens without a server."""
        return self._get(f"/rollouts/{rollout}/report.html").content

    def _get(self, path: str) -> requests.Response:
        url = f"{self.address}{path}"
        try:
            response = request("GET", url, timeout=_TIMEOUT, auth=bearer())
            response.raise_for_status()
        except requests.RequestException as error:
            raise RemoteError(url, f"the gate does not answer: {why(error)}") from error
        return response


def start_gate(processes: Processes, state: State, environ: Mapping[str, str] = os.environ) -> Gate:
    """Start this version's gate on a state folder and wait for its address. Raises RemoteError.

    What the environment says of another gate's database, tokens and receiver of alerts is not for this one.
    """
    environ = {key: value for key, value in environ.items() if key not in _ANOTHER_GATES}
    words = [sys.executable, "-m", "modelpack", "gate", "serve", "--rehearsal", str(state.folder), "--json"]
    process = processes.start("gate", words, environ, state.folder, state.logs / "gate.log")
    until = time.monotonic() + _START_SECONDS
    while True:
        for line in process.log.read_text(errors="replace").splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                try:
                    return Gate(str(json.loads(line)["url"]))
                except (ValueError, KeyError):
                    continue
        process.check()
        if time.monotonic() > until:
            raise RemoteError("gate", f"is not ready after {_START_SECONDS:g} s", f"its log is {process.log}")
        time.sleep(0.05)
