"""How long `modelpack --help` takes: what everybody waits for at every command. `python -m benchmarks.startup`"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.measure import table

LIMIT_MS = 150
RUNS = 20


def main() -> int:
    rows, medians = [], []
    for name, argv in [
        ("python -c pass", [sys.executable, "-c", "pass"]),
        ("modelpack --help", [sys.executable, "-m", "modelpack", "--help"]),
    ]:
        times = sorted(_milliseconds(argv) for _ in range(RUNS))
        medians.append(statistics.median(times))
        rows.append((name, f"{medians[-1]:.0f}", f"{times[0]:.0f}", f"{times[-1]:.0f}"))
    print(table(("command", "median ms", "min", "max"), rows))
    print(f"limit for modelpack --help: {LIMIT_MS} ms, {'kept' if medians[-1] < LIMIT_MS else 'NOT KEPT'}")
    return int(medians[-1] >= LIMIT_MS)


def _milliseconds(argv: list[str]) -> float:
    start = time.monotonic()
    # without a timeout, for with one Python polls in steps of up to 50 ms
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (time.monotonic() - start) * 1000


if __name__ == "__main__":
    sys.exit(main())
