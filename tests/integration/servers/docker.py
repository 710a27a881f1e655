"""The Docker daemon, started by hand: its own socket and folders, no bridge, no firewall rules, nothing left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.servers.process import MissingError, program, running

INSTALL = "apt-get install docker.io, and run as root"


@dataclass(frozen=True)
class Docker:
    """`host` is what DOCKER_HOST wants; `data` the daemon's data root."""

    host: str
    data: Path
    pid: int


@contextmanager
def docker_daemon() -> Iterator[Docker]:
    """An empty Docker daemon. It pulls from registries on 127.0.0.0/8 over plain HTTP; containers have no network."""
    dockerd = program("dockerd", INSTALL)
    if os.geteuid() != 0:
        raise MissingError("dockerd without root", INSTALL)
    folder = Path(tempfile.mkdtemp(prefix="mpd-", dir="/tmp"))  # short: the path of a Unix socket has 108 bytes
    try:
        (folder / "daemon.json").write_text("{}")
        host, data = f"unix://{folder}/docker.sock", folder / "data"
        argv = [dockerd, "--host", host, "--config-file", f"{folder}/daemon.json", "--data-root", str(data)]
        argv += ["--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/dockerd.pid", "--bridge=none"]
        argv += ["--iptables=false", "--ip6tables=false", "--oom-score-adjust=0"]
        with running(argv, folder / "dockerd.log", lambda text: "API listen on" in text, within=120) as process:
            yield Docker(host, data, process.pid)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
