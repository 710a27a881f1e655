"""Flagger's webhooks over HTTP: many at once, each answered before Flagger gives up waiting.

A call that is as it should be is answered here, in front of the web framework, which takes longer to find out what it
is asked than the gate to answer it. All others go on to the framework, which says what is wrong with them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import ValidationError

from modelpack.errors import ModelpackError
from modelpack.gate.engine import Gate
from modelpack.gate.rollouts import Call
from modelpack.gate.schema import Webhook
from modelpack.gate.verdict import LATE, PASSES

PATH = "/flagger/"
WITHIN = 8.0  # seconds; Flagger waits for 10 s unless the Canary says otherwise
PRE_ROLLOUT_WAIT = 50.0  # seconds; the hook's timeout is to be 60 s
POLL = 0.25  # seconds between looks whether a golden set was answered
AT_ONCE = 16  # calls that read their Canary at a time: the API server and the database want to be spared
_JSON = b"application/json"
_log = logging.getLogger(__name__)
_Message = MutableMapping[str, Any]


class Calls:
    """Answers calls, in threads of its own: those that hang for a while hold up no other route."""

    def __init__(self, gate: Gate, count: Callable[[str, int], None], within: float = WITHIN) -> None:
        """`count` hears of each answer, by hook and status; `within` is for how many seconds the gate may think."""
        self._gate = gate
        self._count = count
        self._seconds = within
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="call")

    async def answer(self, call: Call) -> tuple[int, bytes]:
        """Status and text. pre-rollout waits for the golden set: where weights don't climb, no later hook would."""
        if call.hook == "pre-rollout":
            until = time.monotonic() + PRE_ROLLOUT_WAIT
            answer = await self._within(self._gate.decide, call)
            while time.monotonic() < until and await self._within(self._probing, answer.rollout):
                await asyncio.sleep(POLL)
        answer = await self._within(self._gate.answer, call, time.monotonic() + self._seconds)
        self._count(call.hook, answer.status)
        reason = answer.decision.reason.encode("utf-8", "replace").decode()
        return answer.status, f"{answer.decision.verdict}: {reason}\n".encode()

    async def _within(self, ask: Callable[..., Any], *words: Any) -> Any:
        asked = asyncio.get_running_loop().run_in_executor(self._threads, ask, *words)
        try:
            return await asyncio.wait_for(asked, self._seconds)
        except asyncio.TimeoutError:
            return LATE

    def _probing(self, rollout_id: str) -> bool:
        try:
            return self._gate.probing(rollout_id)
        except ModelpackError as error:
            _log.warning("%s", error)
            return False


class Webhooks:
    """The ASGI application in front of another one; a body reaches it whole."""

    def __init__(self, app: Any, calls: Calls) -> None:
        self._app = app
        self._calls = calls

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[_Message]], send: Any) -> None:
        hook = scope["path"].removeprefix(PATH) if scope["type"] == "http" and scope["method"] == "POST" else ""
        if hook not in PASSES or dict(scope["headers"]).get(b"content-type") != _JSON:
            await self._app(scope, receive, send)
            return
        message = await receive()
        try:
            call = Webhook.model_validate_json(message.get("body", b"")).call(hook)
        except ValidationError:

            async def again() -> _Message:
                return message

            await self._app(scope, again, send)
            return
        status, text = await self._calls.answer(call)
        length = str(len(text)).encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})
