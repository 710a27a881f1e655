"""Server-sent events: what the API answers, once more whenever it has changed.

A listener is a coroutine that mostly sleeps. What several listen to is looked at once for all of them, at most once in
`LOOK` seconds, and rendered only if its stamp differs. Beyond `LISTENERS` a request gets the plain answer, as one does
that does not ask for a stream: it may ask again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from fastapi import HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from modelpack.errors import ModelpackError

MEDIA_TYPE = "text/event-stream"
LISTENERS = 100
LISTS = 10  # different lists that are listened to: each costs a search in all rollouts
LOOK = 1.0  # seconds
ALIVE = 15.0  # seconds without a word, after which a comment shows both ends that the other is there


class Live:
    """The listeners of one service. All but `wants` happens in its event loop."""

    def __init__(self) -> None:
        self._subjects: dict[str, _Subject] = {}
        self._listeners = 0
        self._closed = asyncio.Event()

    def wants(self, request: Request, key: str) -> bool:
        """Whether to answer with a stream of this key: it asks for one, and there is room. A list's begins with "?"."""
        if MEDIA_TYPE not in request.headers.get("accept", "") or self._listeners >= LISTENERS:
            return False
        lists = [each for each in tuple(self._subjects) if each.startswith("?")]
        return not key.startswith("?") or key in lists or len(lists) < LISTS

    def stream(self, key: str, stamp: Callable[[], object], render: Callable[[], str]) -> StreamingResponse:
        """`render` gives one line of JSON, `stamp` what differs once that would; both may wait for the database."""
        events = self._events(key, stamp, render)
        return StreamingResponse(events, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store", "Vary": "Accept"})

    def close(self) -> None:
        """End every stream: a server that stops waits for them."""
        self._closed.set()

    async def _events(self, key: str, stamp: Callable[[], object], render: Callable[[], str]) -> AsyncIterator[str]:
        if self._listeners >= LISTENERS:
            return
        self._listeners += 1
        subject = self._subjects.setdefault(key, _Subject(stamp, render))
        subject.listeners += 1
        try:
            sent, said = 0, time.monotonic()
            while not self._closed.is_set():
                await subject.look()
                if subject.number != sent or time.monotonic() - said > ALIVE:
                    yield f"data: {subject.text}\n\n" if subject.number != sent else ":\n\n"
                    sent, said = subject.number, time.monotonic()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), LOOK)
        except (ModelpackError, HTTPException):
            return  # whoever asks again is told why
        finally:
            self._listeners -= 1
            subject.listeners -= 1
            if not subject.listeners:
                self._subjects.pop(key, None)


class _Subject:
    """What some listen to: its latest text, and how many there were."""

    def __init__(self, stamp: Callable[[], object], render: Callable[[], str]) -> None:
        self.listeners = 0
        self.number = 0
        self.text = ""
        self._stamp, self._render = stamp, render
        self._seen: object = None
        self._next = 0.0
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Have the latest, unless it was just looked for; what is slow to make is made less often."""
        async with self._looking:
            begun = time.monotonic()
            if begun < self._next:
                return
            seen = await run_in_threadpool(self._stamp)
            if not self.number or seen != self._seen:
                self.text = await run_in_threadpool(self._render)
                self.number += 1
                self._seen = seen
            took = time.monotonic() - begun
            self._next = begun + max(0.9 * LOOK, 5 * took)
