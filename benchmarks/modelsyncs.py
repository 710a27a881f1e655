"""What the operator costs a round: CPU, memory, and calls to a real API server, for many ModelSyncs at rest.

    python -m benchmarks.modelsyncs [--objects 100,1000] [--rounds 3] [--interval 20]

etcd and kube-apiserver are started for it. Every object is asked about once a round; none needs a run, so nothing
changes. Calls are the API server's own count (apiserver_request_total) of what concerns ModelSyncs and PipelineRuns.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import MIB, table
from tests.fakes.needs_sync import NeedsSync, needs_sync
from tests.integration.servers.modelsyncs import V1, Server, api_server, operator, wait

_TICKS = os.sysconf("SC_CLK_TCK")
_COUNT = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_WORD = re.compile(r'(\w+)="([^"]*)"')
_GROUPS = ("modelpack.dev", "automl.cloudai.kubeflow.org", "tekton.dev")


@dataclass(frozen=True)
class Round:
    """Of one round at rest; `start` is the CPU seconds until the first was over, `memory` in bytes."""

    objects: int
    start: float
    cpu: float
    memory: int
    asked: float
    calls: float
    lease: float


def measure(folder: Path, objects: int, rounds: int, interval: int) -> Round:
    with api_server(folder) as server, needs_sync() as service:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: server.make(f"m{n}", service.say(f"/m{n}", False)), range(objects)))
        words = (f"--interval={interval}s", "--lease=default/operator")
        with operator(server, folder / "operator.log", *words) as process:
            wait(lambda: ready(server) == objects, 300)
            time.sleep(interval)  # the writes of the first round echo in the watches
            start, before, calls = cpu(process.pid), asked(service), count(server)
            time.sleep(rounds * interval)
            spent, told, made = cpu(process.pid) - start, asked(service) - before, count(server) - calls
            assert ready(server) == objects
            return Round(
                objects,
                start,
                spent / rounds,
                memory(process.pid),
                told / rounds,
                made["objects"] / rounds,
                made["leases"] / rounds,
            )


def ready(server: Server) -> int:
    conditions = [(each.get("status") or {}).get("conditions") or () for each in server.objects(V1, "modelsyncs")]
    return sum(any(each["type"] == "Synced" and each["status"] == "True" for each in found) for found in conditions)


def count(server: Server) -> Counter[str]:
    """Requests so far, this benchmark's own lists left out: of the objects, and of leases."""
    found: Counter[str] = Counter()
    text = server.session.get(f"{server.plane.url}/metrics", timeout=30).text
    for words, value in _COUNT.findall(text):
        said = dict(_WORD.findall(words))
        if said.get("resource") == "leases" and said.get("group") == "coordination.k8s.io":
            found["leases"] += int(float(value))
        elif said.get("group") in _GROUPS and said.get("verb") != "WATCH":
            found["objects"] += int(float(value))
    return found


def asked(service: NeedsSync) -> int:
    return sum(service.asked.values())


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> int:
    return _number(Path(f"/proc/{pid}/status").read_text(), "VmHWM") * 1024


def _number(text: str, key: str) -> int:
    found = re.search(rf"{key}:\s*(\d+)", text)
    return int(found[1]) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", default="100,1000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--interval", type=int, default=20, help="seconds")
    given = parser.parse_args()
    found = []
    for objects in map(int, given.objects.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(Path(folder), objects, given.rounds, given.interval))
    head = ("ModelSyncs", "asked/round", "calls/round", "lease calls/round", "CPU s/round", "CPU s, start", "peak MiB")
    shown: list[Callable[[Round], str]] = [
        lambda each: str(each.objects),
        lambda each: f"{each.asked:.0f}",
        lambda each: f"{each.calls:.1f}",
        lambda each: f"{each.lease:.1f}",
        lambda each: f"{each.cpu:.2f}",
        lambda each: f"{each.start:.1f}",
        lambda each: f"{each.memory / MIB:.0f}",
    ]
    print(table(head, [[show(each) for show in shown] for each in found]))


if __name__ == "__main__":
    main()
