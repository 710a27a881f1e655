"""Looks at each ModelSync when something about it changed, or when it is time to ask again, and does what is decided.

Everything is kept by what the watches tell, so a look costs no call to the API server; only what is decided does. One
object is looked at by one task at a time.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from modelpack.errors import InputError, ModelpackError, NotFoundError
from modelpack.operator.api import Api, ConflictError
from modelpack.reconcile.answer import Answer, Failure
from modelpack.reconcile.modelsync import Json, ModelSync, Run, State, parse
from modelpack.reconcile.sync import Decision, decide

LONGEST = 1800.0  # seconds between two questions to a service that fails, and two tries of the API server
JITTER = 0.1  # of an interval, so that objects made together are not asked about together
_SPREAD = 5.0  # seconds over which the first questions after a start are spread
_DOUBT = 600.0  # seconds after which a run that was not heard of is looked up: a watch may have missed its end
_API_RETRY = 5.0
_WRITERS = 8
T = TypeVar("T")
_log = logging.getLogger(__name__)

Ask = Callable[[str], Awaitable[Answer | Failure]]


@dataclass
class _Entry:
    """One object; times are of the loop's clock. `misses` count questions that failed in a row, `stumbles` looks."""

    sync: ModelSync
    ask_at: float
    due: float = 0.0
    misses: int = 0
    stumbles: int = 0
    active: bool = False
    heard: float = 0.0
    busy: bool = False
    again: bool = False


@dataclass
class Loop:
    """`owned` gives the runs of a ModelSync by its uid; `leads` says whether this operator may act now; `clock` never
    goes back, `today` is unix time."""

    api: Api
    ask: Ask
    owned: Callable[[str], Collection[Run]]
    leads: Callable[[], bool]
    interval: float
    clock: Callable[[], float] = time.monotonic
    today: Callable[[], float] = time.time
    looked: float = 0.0
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _queue: list[tuple[float, str]] = field(default_factory=list)
    _gone: set[str] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_WRITERS, "api"))

    # -- what the watches tell

    def saw(self, body: Json, *, listed: bool = False) -> None:
        """A ModelSync as it is now. `listed`: it was there already when the watch began."""
        try:
            sync = parse(body)
        except InputError as error:
            _log.warning("%s", error)
            return
        entry, now = self._entries.get(sync.uid), self.clock()
        if entry is None:
            first = now + (random.uniform(0, min(_SPREAD, self.interval)) if listed else 0.0)  # noqa: S311
            entry = self._entries[sync.uid] = _Entry(sync, ask_at=first, heard=now)
        elif entry.sync.resource_version == sync.resource_version:
            return
        elif entry.sync.generation != sync.generation:
            entry.ask_at, entry.misses = now, 0
        entry.sync = sync
        self.look(sync.uid)

    def forget(self, uid: str) -> None:
        self._entries.pop(uid, None)

    def heard_of(self, owner: str, gone: str = "") -> None:
        """One of its runs changed; `gone` is the uid of one that was deleted."""
        self._gone.discard(gone)
        if entry := self._entries.get(owner):
            entry.heard = self.clock()
            self.look(owner)

    def look(self, uid: str) -> None:
        entry = self._entries.get(uid)
        if entry and entry.busy:
            entry.again = True
        elif entry:
            self._schedule(uid, entry, self.clock())

    def look_at_all(self) -> None:
        for uid in tuple(self._entries):
            self.look(uid)

    # -- rounds

    async def run(self) -> None:
        """For ever."""
        while True:
            now = self.clock()
            self.looked = now
            while self._queue and self._queue[0][0] <= now:
                due, uid = heapq.heappop(self._queue)
                entry = self._entries.get(uid)
                if entry and entry.due == due and not entry.busy:
                    entry.busy = True
                    task = asyncio.create_task(self._visit(uid, entry))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            rest = min(self._queue[0][0] - now, 5.0) if self._queue else 5.0
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(rest, 0.01))
            self._wake.clear()

    def close(self) -> None:
        for each in self._tasks:
            each.cancel()
        self._writers.shutdown(wait=False, cancel_futures=True)

    def _schedule(self, uid: str, entry: _Entry, due: float) -> None:
        entry.due = due
        heapq.heappush(self._queue, (due, uid))
        if due <= max(self._queue[0][0], self.clock()):
            self._wake.set()

    async def _visit(self, uid: str, entry: _Entry) -> None:
        wait, entry.stumbles = LONGEST, entry.stumbles + 1
        try:
            wait = await self._look(uid, entry) if self.leads() else LONGEST
            entry.stumbles = 0
        except ConflictError as error:  # the watch brings what somebody else wrote
            _log.debug("%s", error)
            wait, entry.ask_at = _API_RETRY, self.clock()
        except NotFoundError as error:
            _log.info("%s", error)
            self.forget(uid)
        except ModelpackError as error:
            wait = self._back_off(_API_RETRY, entry.stumbles - 1)
            entry.ask_at = self.clock() + wait
            _log.warning("%s/%s: %s; tried again in %.0f s", entry.sync.namespace, entry.sync.name, error, wait)
        except Exception:  # one object must not stop the others
            _log.exception("%s/%s: a bug", entry.sync.namespace, entry.sync.name)
        finally:
            entry.busy = False
            if self._entries.get(uid) is entry:
                self._schedule(uid, entry, self.clock() if entry.again else self.clock() + wait)
            entry.again = False

    async def _look(self, uid: str, entry: _Entry) -> float:
        """Seconds until it has to be looked at again if nothing happens."""
        runs = await self._owned(entry)
        active = any(each.state is State.RUNNING for each in runs)
        if entry.active and not active and not entry.misses:
            entry.ask_at = self.clock()  # what the run was for may have come true
        entry.active = active
        decision = decide(entry.sync, runs, None, self.today())
        asks = decision.ask and entry.sync.spec is not None
        if asks and self.clock() >= entry.ask_at:
            assert entry.sync.spec
            answer = await self.ask(entry.sync.spec.url)
            self._answered(entry, answer)
            if not self.leads():
                return 0.0
            decision = decide(entry.sync, await self._owned(entry), answer, self.today())
            entry.ask_at = min(entry.ask_at, self.clock() + decision.wait)
        await self._do(entry, decision)
        rest = max(entry.ask_at - self.clock(), 0.0) if asks else LONGEST
        return min(rest, decision.wait, _DOUBT if active else LONGEST)

    def _answered(self, entry: _Entry, answer: Answer | Failure) -> None:
        interval = (entry.sync.spec.interval if entry.sync.spec else 0.0) or self.interval
        if isinstance(answer, Failure):
            entry.misses += 1
            rest = self._back_off(interval, entry.misses)
        else:
            entry.misses = 0
            rest = interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        entry.ask_at = self.clock() + rest

    def _back_off(self, first: float, misses: int) -> float:
        """Doubled each time, and by chance up to a half less: those that failed together do not come back together."""
        longest = max(first, LONGEST)
        return min(first * 2.0 ** min(misses, 32), longest) * random.uniform(0.5, 1.0)  # noqa: S311

    async def _owned(self, entry: _Entry) -> list[Run]:
        """Its runs, without those that are known to be gone though no watch said so."""
        runs = [each for each in self.owned(entry.sync.uid) if each.uid not in self._gone]
        if self.clock() - entry.heard >= _DOUBT:
            for each in runs:
                if each.state is State.RUNNING and not await self._call(
                    self.api.run_is_there, entry.sync.namespace, each
                ):
                    self._gone.add(each.uid)
            entry.heard = self.clock()
            runs = [each for each in runs if each.uid not in self._gone]
        return runs

    # -- what is decided

    async def _do(self, entry: _Entry, decision: Decision) -> None:
        await self._write(entry, decision)
        if decision.create is not None and self.leads():
            await self._create(entry, decision.create)
        for each in decision.remove:
            if not self.leads():
                return
            await self._call(self.api.delete_run, entry.sync.namespace, each)
            self._gone.add(each.uid)

    async def _write(self, entry: _Entry, decision: Decision) -> None:
        if decision.status is None:
            return
        before = entry.sync
        written = await self._call(self.api.write_status, before, decision.status)
        if entry.sync is before:  # else the watch was faster, with something newer
            entry.sync = parse(written)

    async def _create(self, entry: _Entry, run: Json) -> None:
        name = run["metadata"]["name"]
        try:
            await self._call(self.api.create_run, run)
            _log.info("%s/%s: started %s", entry.sync.namespace, entry.sync.name, name)
        except ConflictError:
            _log.info("%s/%s: %s was started already", entry.sync.namespace, entry.sync.name, name)
        except ModelpackError as error:
            failure = Failure("CreateFailed", str(error))
            self._answered(entry, failure)
            await self._write(entry, decide(entry.sync, await self._owned(entry), failure, self.today()))

    async def _call(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writers, lambda: call(*arguments))
