"""The same work on several things at a time, so that one slow answer does not hold up the others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_FAREWELL = 2.0
"""Seconds that the work has to clean up after a failure or Ctrl-C: a registry that hangs would keep it for minutes."""


def on_each(items: Iterable[T], work: Callable[[T, Event], R], at_a_time: int) -> list[R]:
    """The results in order; the first error, or Ctrl-C, ends it and is raised.

    `work` is given one item, and an event that is set when it should stop because another one failed.
    """
    stop = Event()
    waiting: deque[tuple[Future[R], T]] = deque((Future(), each) for each in items)
    results = [each for each, _ in waiting]

    def run() -> None:
        while not stop.is_set():
            try:
                future, item = waiting.popleft()
            except IndexError:
                return
            try:
                future.set_result(work(item, stop))
            except BaseException as error:  # raised below, in the thread that waits
                future.set_exception(error)

    # not a ThreadPoolExecutor: the process could not end before a thread that waits for a registry does
    threads = [Thread(target=run, daemon=True) for _ in range(min(at_a_time, len(results)))]
    for thread in threads:
        thread.start()
    try:
        done, _ = wait(results, return_when=FIRST_EXCEPTION)
        failed = [error for each in done if (error := each.exception())]
        if failed:
            raise failed[0]
    finally:
        stop.set()
        end = time.monotonic() + _FAREWELL
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
    return [each.result() for each in results]
