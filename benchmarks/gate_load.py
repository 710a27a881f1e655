"""How many webhook calls a gate answers, and how fast: `python -m benchmarks.gate_load`.

A real gate in a process of its own (FastAPI, uvicorn, its database in a file, its watcher), asked over loopback as
Flagger asks, with a rollout under way at each of many Canaries. The cluster and Prometheus are made up in the gate's
process: a reading of either takes as long as it does there, and counters rise all the time. Calls are sent at a steady
pace, whether or not earlier ones were answered, and each one's time counts from when it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import sqlalchemy as sa

from benchmarks.measure import FailedError
from modelpack.gate.samples import Series
from modelpack.gate.selectors import Selector
from modelpack.gate.store import Store
from modelpack.gate.target import Endpoint, Target
from modelpack.gate.webhooks import PATH
from tests.integration.servers.postgres import postgres

HOOKS = ("confirm-traffic-increase", "rollback", "event", "confirm-promotion")
READING, QUERY = 0.008, 0.004  # seconds that an API server and a Prometheus take
INTERVAL = 60.0  # seconds between Flagger's ticks
CONNECTIONS = 64
LONGEST = 15.0  # seconds for an answer
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


def _cores() -> tuple[set[int], set[int]]:
    """The gate's core, and that of the load and the database: threads that wake each other across cores of a virtual
    machine take many times as long, and which do would be chance."""
    first, *rest = sorted(os.sched_getaffinity(0))
    return {first}, set(rest[:1]) or {first}


def serve(folder: Path, database: str) -> None:
    from modelpack.gate.server import Options
    from modelpack.gate.server import serve as run

    os.sched_setaffinity(0, _cores()[0])
    run(folder, Cluster(), "127.0.0.1", 0, lambda url: print(url, flush=True), Options(database=database))


class Connection(asyncio.Protocol):
    """One kept connection; calls on it come one after the other."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._call: Call | None = None
        self._answer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, call: Call) -> None:
        assert self._transport
        self._call = call
        self._transport.write(call.request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if end and self._call and len(body) == int(head.partition(b"content-length: ")[2].partition(b"\r")[0]):
            call, self._call, self._answer = self._call, None, b""
            self._load.answered(call, head[9:12].decode(), self)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.closed(self, self._call)


class Call(NamedTuple):
    due: float
    hook: str
    request: bytes


class Load:
    """Calls at a steady pace: the seconds that each took from when it was due, and how many had which answer."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.answers: Counter[str] = Counter()
        self._free: list[Connection] = []
        self._waiting: deque[Call] = deque()
        self._sent = 0

    async def run(self, url: str, calls: Iterable[tuple[str, str, str]], rate: float) -> None:
        """Each of `calls` is hook, Canary and an event's message."""
        host, port = url.removeprefix("http://").split(":")
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            self._free.append((await loop.create_connection(lambda: Connection(self), host, int(port)))[1])
        begun = loop.time()
        for number, (hook, canary, message) in enumerate(calls):
            due = begun + number / rate
            if (pause := due - loop.time()) > 0.001:
                await asyncio.sleep(pause)
            self._waiting.append(Call(due, hook, _request(hook, canary, message)))
            self._sent += 1
            self._next()
        end = loop.time() + LONGEST
        while len(self.took) < self._sent and loop.time() < end:
            await asyncio.sleep(0.05)
        if len(self.took) < self._sent:
            self.answers["without an answer"] = self._sent - len(self.took)
        self.answers["closed"] = 0  # those that this closes are no loss

    def answered(self, call: Call, status: str, free: Connection | None) -> None:
        self.took.append(asyncio.get_running_loop().time() - call.due)
        self.answers[f"{call.hook} {status}"] += 1
        if free:
            self._free.append(free)
            self._next()

    def closed(self, connection: Connection, call: Call | None) -> None:
        """A call that was under way is lost; one that kept still is not used again."""
        self._free = [each for each in self._free if each is not connection]
        self.answers[f"{call.hook} lost" if call else "closed"] += 1

    def _next(self) -> None:
        while self._free and self._waiting:
            self._free.pop().send(self._waiting.popleft())


def _request(hook: str, canary: str, message: str) -> bytes:
    metadata = f'{{"model":"mpg","eventMessage":"{message}"}}' if message else '{"model":"mpg"}'
    body = f'{{"name":"{canary}","namespace":"load","phase":"Progressing","checksum":"c1","metadata":{metadata}}}'
    head = f"POST {PATH}{hook} HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def schedule(canaries: int, start: int, count: int) -> Iterator[tuple[str, str, str]]:
    """All Canaries in turn, each with another hook each time. An event says something new, as Flagger's do."""
    for number in range(start, start + count):
        turn = number // canaries
        hook = HOOKS[(number + turn) % len(HOOKS)]
        yield hook, f"c{number % canaries}", f"Advance, {turn}" if hook == "event" else ""


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
    options.add_argument("--postgres", action="store_true", help="a PostgreSQL of its own, in the place of a file")
    options.add_argument("--database", default="", help=argparse.SUPPRESS)
    options.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        serve(given.serve, given.database)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cores, others = os.sched_getaffinity(0), _cores()[1]
        os.sched_setaffinity(0, others)
        database = stack.enter_context(postgres()) if given.postgres else ""
        os.sched_setaffinity(0, cores)
        url, pid = stack.enter_context(gate(folder, database))
        os.sched_setaffinity(0, others)
        measured(url, pid, given.rollouts, given.rate, given.seconds)
        store = Store(database) if database else Store.in_file(folder / "gate.sqlite")
        with closing(store), store.transaction() as connection:
            rows = connection.execute(sa.text("select hook, count(*) from events group by hook order by hook"))
            print(f"events in the database: {', '.join(f'{count} {hook}' for hook, count in rows)}")


def measured(url: str, pid: int, canaries: int, rate: float, seconds: float) -> None:
    begun = time.monotonic()
    first = ((HOOKS[0], f"c{number}", "") for number in range(canaries))
    asyncio.run(Load().run(url, first, 100.0))  # each Canary's first call: its rollout
    print(f"{canaries} rollouts began within {time.monotonic() - begun:.0f} s")
    time.sleep(10)
    idle, begun = processor(pid), time.monotonic()
    time.sleep(10)
    print(f"looks alone: {(processor(pid) - idle) / (time.monotonic() - begun):.0%} of a processor")
    before, used, own = series(url, "modelpack_gate_webhooks_total"), processor(pid), time.process_time()
    parts, begun = max(1, round(seconds / 10)), time.monotonic()
    each = int(rate * seconds / parts)
    print(f"{'seconds':>8} {'calls':>7} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'MiB':>6} {'CPU':>5} {'load':>5}")
    all_took: list[float] = []
    all_answers: Counter[str] = Counter()
    for part in range(parts):
        now, load = (time.monotonic(), processor(pid)), Load()
        asyncio.run(load.run(url, schedule(canaries, part * each, each), rate))
        share = (processor(pid) - now[1]) / (time.monotonic() - now[0])
        print(_row(f"{(part + 1) * seconds / parts:.0f}", load.took, memory(pid), share), flush=True)
        all_took += load.took
        all_answers += load.answers
    share, own = (processor(pid) - used) / (time.monotonic() - begun), time.process_time() - own
    print(_row("all", all_took, memory(pid), share))
    calls = len(all_took)
    print(
        f"CPU a call: {1000 * (processor(pid) - used) / calls:.2f} ms, of the load itself {1000 * own / calls:.2f} ms"
    )
    recorded = series(url, "modelpack_gate_webhooks_total") - before
    print(f"answers: {', '.join(f'{count} {name}' for name, count in sorted(all_answers.items()))}")
    print(f"sent {each * parts}, counted by the gate {recorded:.0f}")


def _row(title: str, took: list[float], mib: float, share: float) -> str:
    ordered = sorted(took)
    times = [1000 * ordered[min(len(took) - 1, int(q * len(took)))] for q in (0.5, 0.99, 1.0)]
    return (
        f"{title:>8} {len(took):>7} "
        + " ".join(f"{each:>8.1f}" for each in times)
        + f" {mib:>6.0f} {share:>5.0%} {os.getloadavg()[0]:>5.1f}"
    )


if __name__ == "__main__":
    main()
