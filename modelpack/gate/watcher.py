"""Looks at every Canary that has an open rollout, each in a thread of its own: a slow one stops no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from modelpack.errors import ModelpackError

IDLE = 0.5  # seconds between searches for open rollouts
LONGEST = 15.0  # seconds between looks that fail
SHARE = 0.2  # of a processor that computes, calls need the rest
STOP_TIMEOUT = 4.0  # seconds
_log = logging.getLogger(__name__)

Canary = tuple[str, str]  # namespace, name


class Watcher:
    """Calls `look` for each Canary of `watched` until it gives None; it gives the seconds until the next look.

    A look that raises is tried again, less and less often. Where there are so many that together they would take more
    than `SHARE` of a processor they come later, each of them.
    """

    def __init__(self, look: Callable[[str, str], float | None], watched: Callable[[], Iterable[Canary]]) -> None:
        self._look = look
        self._watched = watched
        self._stopped = threading.Event()
        self._lookers: dict[Canary, threading.Thread] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watcher")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the threads; those that wait for a network are left to themselves."""
        self._stopped.set()
        until = time.monotonic() + STOP_TIMEOUT
        for thread in (self._thread, *tuple(self._lookers.values())):
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self.stopped

    def _watch(self) -> None:
        while not self.stopped:
            try:
                for canary in set(self._watched()):
                    if canary not in self._lookers:
                        looker = threading.Thread(target=self._look_on, args=canary, daemon=True, name=":".join(canary))
                        self._lookers[canary] = looker
                        looker.start()
            except ModelpackError as error:
                _log.warning("%s", error)
            except Exception:
                _log.exception("the watcher goes on after a bug")
            self._stopped.wait(IDLE)

    def _look_on(self, namespace: str, name: str) -> None:
        failing = IDLE
        while not self.stopped:
            begun = time.thread_time()
            try:
                pause, failing = self._look(namespace, name), IDLE
            except ModelpackError as error:
                _log.debug("%s/%s: %s", namespace, name, error)
                pause = failing = min(LONGEST, 2 * failing)
            except Exception:
                _log.exception("the look at %s/%s goes on after a bug", namespace, name)
                pause = failing = min(LONGEST, 2 * failing)
            if pause is None:
                self._lookers.pop((namespace, name), None)
                return
            self._stopped.wait(max(pause, (time.thread_time() - begun) * len(self._lookers) / SHARE))
