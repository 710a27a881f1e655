"""Turns at computing. Python runs one thread at a time; threads that all want to run cost more than they get done.

A thread has its turn while it computes and while it asks a database that is a file, and gives it up while it waits for
a network. So those that wait do so asleep, and the one that computes is not interrupted at each statement.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """So many threads have a turn at a time."""

    def __init__(self, number: int) -> None:
        self._free = threading.BoundedSemaphore(number)
        self._here = threading.local()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have a turn; this thread has none yet."""
        with self._free:
            self._here.has_one = True
            try:
                yield
            finally:
                self._here.has_one = False

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Let others have their turn meanwhile, if this thread has one."""
        if not getattr(self._here, "has_one", False):
            yield
            return
        self._here.has_one = False
        self._free.release()
        try:
            yield
        finally:
            self._free.acquire()
            self._here.has_one = True
