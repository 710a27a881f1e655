"""Prometheus itself (Debian's), and exporters whose counters a test moves."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.fakes.rehearsal import serve
from tests.integration.servers.process import free_port, program, running


@dataclass
class Exporter:
    """A page of counters, by `name{labels}`; a restart forgets them all. `seen` is what each scrape was shown."""

    url: str = ""
    seen: list[dict[str, float]] = field(default_factory=list)
    alive: bool = True
    _counts: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, series: str, count: float = 1) -> None:
        with self._lock:
            self._counts[series] = self._counts.get(series, 0.0) + count

    def restart(self) -> None:
        with self._lock:
            self._counts.clear()

    def page(self, path: str, body: bytes) -> tuple[int, bytes]:
        if not self.alive:
            return 503, b""
        with self._lock:
            self.seen.append(dict(self._counts))
            return 200, "".join(f"{name} {value}\n" for name, value in self._counts.items()).encode()


@contextmanager
def exporter() -> Iterator[Exporter]:
    found = Exporter()
    with serve(found.page) as url:
        found.url = url
        yield found


def job(name: str, targets: Sequence[str], **labels: str) -> dict[str, Any]:
    """A scrape config of these addresses; like the shipped one it leaves labels as they come."""
    hosts = [each.removeprefix("http://") for each in targets]
    return {"job_name": name, "honor_labels": True, "static_configs": [{"targets": hosts, "labels": labels}]}


@contextmanager
def prometheus(folder: Path, targets: Sequence[str], *, every: str = "1s") -> Iterator[str]:
    """Scrape these addresses as job `envoy`; yields the server's own address."""
    with server(folder, [job("envoy", targets)], every=every) as (url, _):
        yield url


@contextmanager
def server(
    folder: Path, jobs: Sequence[dict[str, Any]], rules: Sequence[Path] = (), *, every: str = "1s"
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run these scrape configs and rule files; yields the server's address and its process."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(each) for each in rules],
        "scrape_configs": list(jobs),
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    argv = [
        program("prometheus", "apt-get install prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    with running(argv, folder / "prometheus.log", lambda _: _ready(url)) as process:
        yield url, process


def _ready(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"{url}/-/ready", timeout=2).ok
        except requests.RequestException:
            return False
