"""Flagger's webhooks: what they are sent and what counts as passed.

Addresses whose path starts with `/flagger/` are the gate's, wherever the Canary says that it lives in the cluster.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import requests

from modelpack.rehearse.http import request, why
from modelpack.rehearse.tick import Call, Event
from modelpack.rollout import Canary, Status, Webhook

GATE_PATH = "/flagger/"
_PASSING = 202  # the highest status that passes
_RETRY_SECONDS = (1.0, 30.0)  # the first and the longest wait between retries


def is_for_gate(hook: Webhook) -> bool:
    return urlsplit(hook.url).path.startswith(GATE_PATH)


class Hooks:
    """Calls a Canary's webhooks. Those of the gate are skipped, as if passed, while `gate` is ""."""

    def __init__(self, canary: Canary, gate: str, speed: float) -> None:
        self._canary = canary
        self._speed = speed
        self.gate = gate.rstrip("/")

    def ask(self, call: Call) -> tuple[bool, str]:
        """Whether a webhook passed, and what it said if it didn't."""
        return self._post(call.hook, self._body(call.hook, call.status))

    def tell(self, event: Event) -> None:
        """Send an event to the event webhooks; what they answer changes nothing."""
        for hook in self._canary.hooks("event"):
            body = self._body(hook, event.status)
            body["metadata"] = {
                **hook.metadata,
                "eventMessage": event.message,
                "eventType": "Warning" if event.warning else "Normal",
                "timestamp": str(time.time_ns() // 1_000_000),
            }
            self._post(hook, body)

    def _body(self, hook: Webhook, status: Status) -> dict[str, Any]:
        body: dict[str, Any] = {
            "name": self._canary.name,
            "namespace": self._canary.namespace,
            "phase": status.phase.value,
            "checksum": status.checksum,
        }
        return {**body, "metadata": dict(hook.metadata)} if hook.metadata else body

    def _post(self, hook: Webhook, body: dict[str, Any]) -> tuple[bool, str]:
        url = hook.url
        if is_for_gate(hook):
            if not self.gate:
                return True, ""
            url = self.gate + urlsplit(hook.url).path
        answer, pause = "", _RETRY_SECONDS[0]
        for attempt in range(hook.retries + 1):
            if attempt:
                time.sleep(pause / self._speed)
                pause = min(2 * pause, _RETRY_SECONDS[1])
            try:
                response = request("POST", url, json=body, timeout=hook.timeout)
            except requests.RequestException as error:
                answer = f"{url}: {why(error)}"
                continue
            answer = response.text.strip() or f"{url} answered {response.status_code}"
            if not _is_asked_again(response.status_code):
                return response.status_code <= _PASSING, answer
        return False, answer


def _is_asked_again(status: int) -> bool:
    return status == 429 or (status >= 500 and status != 501)
