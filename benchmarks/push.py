"""Package a model and push it into a fresh registry, side by side with others: `python -m benchmarks.push`

All of them run in turn, round after round, with the model in the page cache and an empty distribution v3 registry on
loopback each time; medians are shown. F is the floor of the same run: the wall time of sending the same bytes by
sendfile with digests known beforehand, and the CPU seconds of hashing them, divided by the cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import model
from benchmarks.floor import hash_all, send_all
from benchmarks.measure import MIB, Cost, Daemon, FailedError, median, run, table
from benchmarks.peers import PEERS, Peer
from tests.integration.servers import MissingError, ServerError
from tests.integration.servers.docker import docker_daemon
from tests.integration.servers.registry import registry

SHARDS = 4
TARGET = 1.15  # of F
OURS = "modelpack build --push"
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def main() -> int:
    options = _options()
    work = Path(tempfile.mkdtemp(prefix="modelpack-push-", dir=options.work))
    try:
        return _compare(work, options.size, options.rounds, options.only)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def in_bytes(text: str) -> int:
    """2GiB, 512MiB, 100 … in bytes, for argparse."""
    found = re.fullmatch(r"([0-9]+)(|[KMG]iB)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 2GiB")
    return int(found[1]) * _UNITS[found[2]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=in_bytes, default="2GiB", help="of the model, 2GiB unless told")
    parser.add_argument("--rounds", type=int, default=3, help="3 unless told")
    parser.add_argument("--only", metavar="PROGRAM,…", help="compare with these programs only, e.g. docker,buildah")
    parser.add_argument("--work", type=Path, help="where the model and the registry's blobs go")
    return parser.parse_args()


def _compare(work: Path, size: int, rounds: int, only: str | None) -> int:
    paths = model.make(work / "model", size, SHARDS)
    runs: dict[str, Callable[[], Cost]] = {OURS: partial(_ours, work)}
    notes = []
    for peer in PEERS:
        if only is not None and peer.program not in only.split(","):
            continue
        if shutil.which(peer.program):
            runs[peer.name] = partial(_theirs, work, peer)
        else:
            notes.append(f"not compared: {peer.name}: {peer.program} is not on PATH; {peer.install}")
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    floors = []
    for number in range(1, rounds + 1):
        floors.append(_floor(work, paths))
        _say(f"round {number}/{rounds}  floor  {floors[-1].total:.2f} s")
        for name in list(runs):
            model.warm(paths)
            try:
                costs[name].append(runs[name]())
            except (FailedError, MissingError, ServerError) as error:
                if name == OURS:
                    raise
                notes.append(f"not compared: {name} failed: {error}")
                del runs[name]
            else:
                _say(f"round {number}/{rounds}  {name}  {costs[name][-1].wall:.2f} s")
    print(f"\n{size / MIB:.0f} MiB in {SHARDS} files, medians of {rounds}; Python {platform.python_version()}")
    print(f"{_cores()} cores, {_processor()}")
    _report({name: median(costs[name]) for name in runs}, floors)
    print(*notes, sep="\n")
    return 0


@dataclass(frozen=True)
class Floor:
    """Wall seconds of sending and CPU seconds of hashing."""

    sending: float
    hashing: float

    @property
    def total(self) -> float:
        return self.sending + self.hashing / _cores()


def _floor(work: Path, paths: list[Path]) -> Floor:
    """One round's floor; whichever is faster, two files at a time or all of them."""
    digests, hashing = hash_all(paths)
    sending = []
    for at_a_time in (2, SHARDS):
        model.warm(paths)
        with _fresh(work) as (address, _):
            sending.append(send_all(address, "models/bench", paths, digests, at_a_time))
    return Floor(min(sending), hashing)


def _report(costs: dict[str, Cost], floors: list[Floor]) -> None:
    floor = statistics.median(each.total for each in floors)
    sending, hashing = (statistics.median(each) for each in zip(*((f.sending, f.hashing) for f in floors), strict=True))
    print(f"F = {floor:.2f} s: about {sending:.2f} s of sending + {hashing:.2f} CPU s of hashing / {_cores()} cores\n")
    print(_rows(costs, floor))
    ratio = costs[OURS].wall / floor
    print(f"\ntarget for modelpack: {TARGET} F, {'reached' if ratio <= TARGET else 'NOT REACHED'}")


def _rows(costs: dict[str, Cost], floor: float) -> str:
    head = ("", "wall s", "x F", "x modelpack", "CPU s", "peak RSS MiB", "temporary MiB")
    ours = costs[OURS].wall
    return table(
        head,
        [
            (
                name,
                f"{cost.wall:.2f}",
                f"{cost.wall / floor:.2f}",
                f"{cost.wall / ours:.1f}",
                f"{cost.cpu:.1f}",
                f"{cost.rss / MIB:.0f}",
                f"{cost.disk / MIB:.1f}",
            )
            for name, cost in costs.items()
        ],
    )


@contextmanager
def _fresh(work: Path) -> Iterator[tuple[str, Path]]:
    """An empty registry's address, and an empty scratch folder; the disk is at rest before and after."""
    scratch, folder = work / "scratch", work / "registry"
    os.sync()
    scratch.mkdir()
    try:
        with registry(folder, v3=True) as server:
            yield server.address, scratch
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)


def _ours(work: Path) -> Cost:
    with _fresh(work) as (address, scratch):
        return run(model.build_and_push(work / "model", address), scratch, env=model.environment(scratch))


def _theirs(work: Path, peer: Peer) -> Cost:
    with _fresh(work) as (address, scratch), ExitStack() as stack:
        env = model.environment(scratch)
        env |= {"MODEL": str(work / "model" / "shards"), "REF": f"{address}/models/bench:v1"}
        daemon = None
        if peer.daemon:
            server = stack.enter_context(docker_daemon())
            env["DOCKER_HOST"], daemon = server.host, Daemon(server.pid, server.data)
        return run(["sh", "-c", peer.script], scratch, env=env, daemon=daemon)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
