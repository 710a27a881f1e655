"""papermill's engine for us: a kernel that is found without being installed, ends with us, and says so much at most."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "python3"
_ENGINE = "modelpack"
_STREAM = 1024 * 1024  # bytes of text that a cell prints
_RICH = 16 * 1024 * 1024  # bytes of pictures and tables of a cell
_ALL = 128 * 1024 * 1024  # bytes of all outputs of a notebook
_ERROR = 20_000  # characters of a line of a traceback
_SHUTDOWN = 2.0  # seconds for a kernel's atexit
_TAIL = 1000  # bytes
_SOCKET = 80  # characters that leave room in a Unix socket's path


@dataclass
class Session:
    """`engine` is the name under which papermill knows it; `cell` the place of the cell that was begun last, or -1;
    `said` the last line that the kernel's process itself wrote."""

    engine: str = _ENGINE
    cell: int = -1
    said: str = ""


@contextlib.contextmanager
def session(scratch: Path, env: Mapping[str, str]) -> Iterator[Session]:
    """An engine whose kernels have the environment `env` and their connection file in `scratch`.

    At the end the process groups of its kernels are killed.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import ensure_event_loop
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines

    groups: list[int] = []
    log = scratch / "kernel.log"
    found = Session()

    class Kernel(AsyncKernelManager):
        def __init__(self, **rest: Any) -> None:
            super().__init__(**{**rest, "connection_file": str(scratch / "kernel.json")})
            self.shutdown_wait_time = _SHUTDOWN
            if len(str(scratch)) <= _SOCKET:  # a folder of ours alone; else TCP on the loopback, with a key
                self.transport = "ipc"

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

        async def start_kernel(self, **rest: Any) -> None:  # type: ignore[override]
            with log.open("ab") as said:  # what ipykernel says about its own end is nobody's
                await super().start_kernel(**{**rest, "env": dict(env), "stdout": said, "stderr": said})
            pid = getattr(self.provisioner, "pid", None)
            if pid and os.getpgid(pid) == pid:
                groups.append(pid)

    class Client(PapermillNotebookClient):  # type: ignore[misc,unused-ignore]
        def __init__(self, *words: Any, **rest: Any) -> None:
            super().__init__(*words, **rest)
            self.budget = Budget()

        def execute_cell(self, cell: Any, cell_index: int, **rest: Any) -> Any:
            found.cell = cell_index
            try:
                return super().execute_cell(cell, cell_index, **rest)
            except (KeyboardInterrupt, SystemExit):
                _forget(ensure_event_loop())
                raise

        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            note = self.budget.refuses(msg, cell_index)
            if note is None:
                return super().process_message(msg, cell, cell_index)
            if note:
                cell.outputs.append(_stream(note))
            return None

    class Engine(NBClientEngine):  # type: ignore[misc,unused-ignore]
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **rest: Any) -> Any:
            deadline = rest["deadline"]
            return Client(
                nb_man,
                kernel_name=kernel_name,
                kernel_manager_class=Kernel,
                resources=rest["resources"],
                startup_timeout=max(1, min(60, math.ceil(deadline - time.monotonic()))),
                timeout_func=lambda cell: max(1, math.ceil(deadline - time.monotonic())),
                ipython_hist_file="",
            ).execute()

    papermill_engines.register(_ENGINE, Engine)
    try:
        yield found
    finally:
        for each in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(each, signal.SIGKILL)
        found.said = _last_line(log)


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def _forget(loop: asyncio.AbstractEventLoop) -> None:
    """End what an interrupted loop left under way; unread, its errors would be printed."""
    left = asyncio.all_tasks(loop)
    for each in left:
        each.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


class Budget:
    """How much of a notebook's output is kept."""

    def __init__(self) -> None:
        self._cell = -1
        self._kept = {"stream": 0, "rich": 0}
        self._all = 0
        self._noted: set[str] = set()

    def refuses(self, message: Mapping[str, Any], cell: int) -> str | None:
        """None for a message that is to be kept; else what to write in its place, "" for nothing any more.

        Trims an error's texts, and the text that fills the budget, in place.
        """
        kind, content = message.get("msg_type"), message.get("content", {})
        if kind == "error":
            content["evalue"] = str(content.get("evalue", ""))[:_ERROR]
            content["traceback"] = [str(each)[:_ERROR] for each in content.get("traceback", [])[:200]]
            return None
        if kind not in ("stream", "display_data", "execute_result", "update_display_data"):
            return None
        if cell != self._cell:
            self._cell, self._kept, self._noted = cell, {"stream": 0, "rich": 0}, set()
        pool, most = ("stream", _STREAM) if kind == "stream" else ("rich", _RICH)
        if pool in self._noted:
            return ""
        size = len(str(content.get("text", ""))) if kind == "stream" else _size(content.get("data"))
        room = min(most - self._kept[pool], _ALL - self._all)
        if size <= room:
            if kind != "update_display_data":  # it replaces what was there
                self._kept[pool] += size
                self._all += size
            return None
        self._noted.add(pool)
        if kind == "stream":
            content["text"] = f"{content['text'][:room]}\n[modelpack: further text of this cell is left out]\n"
            return None
        return "[modelpack: further pictures and tables of this cell are left out]\n"


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(_size(each) for each in value.values())
    return len(value) if isinstance(value, str) else len(str(value))


def _stream(text: str) -> Any:
    import nbformat

    v4: Any = nbformat.v4  # untyped
    return v4.new_output("stream", name="stderr", text=text)
