"""Asking a needsSync service: one GET that is bounded in time and size, follows no redirect, and says no secret."""

from __future__ import annotations

import asyncio
from types import TracebackType
from urllib.parse import urlsplit

import aiohttp

from modelpack.errors import InputError
from modelpack.reconcile.answer import MAX_ANSWER, Answer, Failure, parse_answer

AT_ONCE, AT_ONCE_OF_A_HOST = 16, 4  # questions that wait for their answer: one that hangs holds up only its own


class Asker:
    """Use as `async with`: it keeps its connections. `seconds` are for one whole answer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._places = asyncio.Semaphore(AT_ONCE)
        self._hosts: dict[str, asyncio.Semaphore] = {}

    async def __aenter__(self) -> Asker:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            connector=aiohttp.TCPConnector(limit=AT_ONCE),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": "modelpack-operator"},
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def __call__(self, url: str) -> Answer | Failure:
        host = self._hosts.setdefault(urlsplit(url).netloc, asyncio.Semaphore(AT_ONCE_OF_A_HOST))
        async with host, self._places:
            try:
                async with self._session.get(url, allow_redirects=False) as answer:
                    body = b""
                    while len(body) <= MAX_ANSWER and (piece := await answer.content.readany()):
                        body += piece
                    return parse_answer(answer.status, body, url)
            except InputError as error:
                return Failure("NeedsSyncFailed", str(error))
            except TimeoutError:
                return Failure("NeedsSyncFailed", f"{url}: did not answer within {self._seconds:g} s")
            except (aiohttp.ClientError, OSError, ValueError) as error:  # aiohttp's own text may differ each time
                return Failure("NeedsSyncFailed", f"{url}: cannot be asked ({type(error).__name__})")
