"""How many webhook calls a gate answers, and how fast: `python -m benchmarks.gate_load`.

A real gate in a process of its own (FastAPI, uvicorn, its database in a file, its watcher), asked over loopback as
Flagger asks, with a rollout under way at each of many Canaries. The cluster and Prometheus are made up in the gate's
process: a reading of either takes as long as it does there, and counters rise all the time. Calls are sent at a steady
pace, whether or not earlier ones were answered, and each one's time counts from when it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import FailedError
from modelpack.gate.samples import Series
from modelpack.gate.selectors import Selector
from modelpack.gate.target import Endpoint, Target

HOOKS = ("confirm-traffic-increase", "rollback", "event", "confirm-promotion")
READING, QUERY = 0.008, 0.004  # seconds that an API server and a Prometheus take
INTERVAL = 60.0  # seconds between Flagger's ticks
CONNECTIONS = 64
GATE = b"""\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 2h
checks:
- name: errors
  type: proportion
  total: rq{name="${name}",role="${role}"}
  bad: rq{name="${name}",role="${role}",code="5"}
  margin: 0.002
  min_sample: 100000000
- name: latency
  type: latency
  threshold: 100
  unit: ms
  histogram: rt{name="${name}",role="${role}"}
  margin: 0.002
  min_sample: 100000000
"""


class Cluster:
    """Canaries without end that are all under way. Half of their traffic is the canary's."""

    recent = 1.0

    def resolve(self, namespace: str, name: str) -> Target:
        time.sleep(READING)
        canary, primary = (Endpoint("http://127.0.0.1:9", f"models/mpg:v{n}@sha256:{n:064d}") for n in (2, 1))
        return Target(namespace, name, "Progressing", 50.0, "1", canary, primary, "made up", INTERVAL, 1.0)

    def config(self, namespace: str, model: str) -> Mapping[str, bytes]:
        return {"gate.yaml": GATE}

    def source(self, target: Target, selectors: Sequence[Selector]) -> Counters:
        return Counters()

    def why_unready(self) -> str:
        return ""


class Counters:
    """A Prometheus that scraped every 15 s: 20 requests a second for each version, one of 200 fails, none is slow."""

    def samples(self, selector: Selector, role: str, start: float, end: float) -> list[Series]:
        time.sleep(QUERY)
        times = [float(t) for t in range(int(start // 15 + 1) * 15, int(end) + 1, 15)]
        shares = {"5": 0.1, "2": 19.9}
        if selector.metric == "rq":
            codes = [dict(selector.labels).get("code", "")]
            return [
                Series("rq", {"role": role, "code": code}, tuple((t, t * rate) for t in times))
                for code, rate in shares.items()
                if codes in ([""], [code])
            ]
        bounds = {"50": 19.0, "100": 20.0, "+Inf": 20.0}
        return [
            Series(selector.metric, {"role": role, "le": bound}, tuple((t, t * rate) for t in times))
            for bound, rate in bounds.items()
        ]

    def query(self, text: str, at: float) -> float | None:
        return None


@contextmanager
def gate(folder: Path, database: str) -> Iterator[tuple[str, int]]:
    """The gate in a process of its own: its address and its process id."""
    words = [sys.executable, "-m", "benchmarks.gate_load", "--serve", str(folder), "--database", database]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline().strip()
        if not line:
            raise FailedError("the gate did not start")
        yield line, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def serve(folder: Path, database: str) -> None:
    from modelpack.gate.server import Options
    from modelpack.gate.server import serve as run

    run(folder, Cluster(), "127.0.0.1", 0, lambda url: print(url, flush=True), Options(database=database))


class Connection:
    """One kept connection; calls on it come one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def call(self, hook: str, canary: str, message: str) -> int:
        metadata = {"model": "mpg", "eventMessage": message} if hook == "event" else {"model": "mpg"}
        body = json.dumps(
            {"name": canary, "namespace": "load", "phase": "Progressing", "checksum": "c1", "metadata": metadata}
        ).encode()
        head = f"POST /flagger/{hook} HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n"
        self._writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
        await self._reader.readexactly(int(length[1]) if length else 0)
        return int(answer.split(b" ", 2)[1])


async def load(url: str, canaries: int, rate: float, seconds: float) -> tuple[list[float], Counter[str]]:
    """Call at a rate for a time: each call's seconds from when it was due, and how many had which answer."""
    host, port = url.removeprefix("http://").split(":")
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(Connection(*await asyncio.open_connection(host, int(port))))
    took: list[float] = []
    answers: Counter[str] = Counter()

    async def one(number: int, due: float) -> None:
        connection = await free.get()
        hook, turn = HOOKS[number // canaries % len(HOOKS)], number // canaries // len(HOOKS)
        try:
            status = await asyncio.wait_for(connection.call(hook, f"c{number % canaries}", f"Advance, {turn}"), 10)
            answers[f"{hook} {status}"] += 1
            free.put_nowait(connection)
        except (OSError, EOFError, asyncio.TimeoutError) as error:  # apart from TimeoutError before 3.11
            answers[f"lost: {type(error).__name__}"] += 1
            free.put_nowait(Connection(*await asyncio.open_connection(host, int(port))))
        took.append(time.monotonic() - due)

    begun, tasks = time.monotonic(), set()
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        if (pause := due - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        tasks.add(task := asyncio.create_task(one(number, due)))
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return took, answers


def memory(pid: int) -> float:
    """MiB that a process has."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def processor(pid: int) -> float:
    """Seconds of a processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def series(url: str, start: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rollouts", type=int, default=1000)
    options.add_argument("--rate", type=float, default=500.0, help="calls a second")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--database", default="", help="a PostgreSQL, in the place of a file")
    options.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        serve(given.serve, given.database)
        return
    with tempfile.TemporaryDirectory() as folder, gate(Path(folder), given.database) as (url, pid):
        begun = time.monotonic()
        asyncio.run(load(url, given.rollouts, 100.0, given.rollouts / 100))  # each Canary's first call: its rollout
        print(f"{given.rollouts} rollouts began within {time.monotonic() - begun:.0f} s")
        time.sleep(10)
        before, used, begun = series(url, "modelpack_gate_webhooks_total"), processor(pid), time.monotonic()
        parts = max(1, round(given.seconds / 10))
        print(f"{'seconds':>8} {'calls':>7} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'MiB':>6} {'CPU':>5}")
        all_took: list[float] = []
        all_answers: Counter[str] = Counter()
        for part in range(1, parts + 1):
            now = time.monotonic(), processor(pid)
            took, answers = asyncio.run(load(url, given.rollouts, given.rate, given.seconds / parts))
            share = (processor(pid) - now[1]) / (time.monotonic() - now[0])
            print(_row(f"{part * given.seconds / parts:.0f}", took, memory(pid), share))
            all_took += took
            all_answers += answers
        share = (processor(pid) - used) / (time.monotonic() - begun)
        print(_row("all", all_took, memory(pid), share))
        recorded = series(url, "modelpack_gate_webhooks_total") - before
        print(f"answers: {', '.join(f'{count} {name}' for name, count in sorted(all_answers.items()))}")
        print(f"sent {len(all_took)}, counted by the gate {recorded:.0f}")


def _row(title: str, took: list[float], mib: float, share: float) -> str:
    ordered = sorted(took)
    times = [1000 * ordered[min(len(took) - 1, int(q * len(took)))] for q in (0.5, 0.99, 1.0)]
    return f"{title:>8} {len(took):>7} " + " ".join(f"{each:>8.1f}" for each in times) + f" {mib:>6.0f} {share:>5.0%}"


if __name__ == "__main__":
    main()
