"""What turned out to be true of the traffic, told to the gate some time after each answer, as in life."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Any

from modelpack.errors import RemoteError
from modelpack.rehearse.gate import Gate

_LOOK_SECONDS = 0.25
_MOST = 250  # of a call: the gate takes 64 KiB
_WAITING = 100_000  # the oldest are forgotten beyond


class Truths:
    """Posts labels `after` seconds after they were learnt, while used as a context; what the gate refuses is lost."""

    def __init__(self, gate: Gate, model: str, after: float) -> None:
        self._gate, self._model, self._after = gate, model, after
        self._waiting: deque[tuple[float, str, Any]] = deque(maxlen=_WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> Truths:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def learn(self, request: str, truth: Any) -> None:
        """Note what was true of the request with this id."""
        self._waiting.append((time.monotonic() + self._after, request, truth))

    def _tell(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            while due := self._due():
                with suppress(RemoteError):  # it decides nothing without labels, and says so
                    self._gate.add_labels(self._model, due)

    def _due(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._waiting and self._waiting[0][0] <= time.monotonic() and len(found) < _MOST:
            _, request, truth = self._waiting.popleft()
            found[request] = truth
        return found
