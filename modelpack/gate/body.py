"""How much the gate reads of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import PlainTextResponse

LINEAGE = "/api/v1/lineage/"
MAX_BODY = 64 * 1024
MAX_LINEAGE = 256 * 1024
_Message = MutableMapping[str, Any]


class BoundedBody:
    """Refuses bodies over `MAX_BODY` bytes, of lineage over `MAX_LINEAGE`, while they arrive."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[_Message]], send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, most = bytearray(), MAX_LINEAGE if scope["path"].startswith(LINEAGE) else MAX_BODY
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if len(body) > most:
                await PlainTextResponse(f"the body is longer than {most} bytes\n", 413)(scope, receive, send)
                return
            if not message.get("more_body"):
                break
        given = False

        async def replay() -> _Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, replay, send)
