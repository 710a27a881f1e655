"""The last resort against processes that outlive a rehearsal: run as a script, it ends them when the rehearsal is gone.

Its standard input is a pipe that only the rehearsal and, for a moment, each starting process hold. A process writes its
group's number there before it becomes the server, the rehearsal writes `-number` once it has ended one; when the pipe
closes, by whatever end, SIGKILL included, the groups that are left are ended. It imports nothing heavy: starting it
takes a few hundredths of a second.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

GRACE = 2.0  # seconds between asking and killing


def ended(group: int) -> bool:
    """No process of the group is left but zombies: in a container often nobody waits for those."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return True
    states = list(states_of(group))
    return bool(states) and all(state in "ZX" for state in states)


def states_of(group: int) -> Iterator[str]:
    """The states of a group's processes, from Linux' /proc; none where there is no such thing."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, found = file.read_text().rpartition(")")[2].split()[:3]
            if int(found) == group:
                yield state


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        number = int(line)
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(OSError):
                os.killpg(group, number)
        until = time.monotonic() + GRACE
        while time.monotonic() < until and not all(map(ended, groups)):
            time.sleep(0.02)


if __name__ == "__main__":
    main()
