"""Container registries: Debian's docker-registry (distribution 2.8), distribution v3, and olareg.

Of these olareg alone lists referrers itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.servers.gotools import go_tool
from tests.integration.servers.process import free_port, listening, program, running

USER, PASSWORD = "alice", "open-sesame"
_HTPASSWD = f"{USER}:$2b$05$nULze8lSN.80afQWbEdHMej.oSBZFTuZkCeIt9OdhXKS.OB9SkYu.\n"
_CONFIG = """\
version: 0.1
log: {{accesslog: {{disabled: true}}, level: info}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:0"}}
"""
_AUTH = "auth: {{htpasswd: {{realm: tests, path: {htpasswd}}}}}\n"
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Registry:
    """`address` is host:port; `storage` the folder with its blobs; user and password are "" unless it wants a login."""

    address: str
    storage: Path
    pid: int
    user: str = ""
    password: str = ""


@contextmanager
def registry(folder: Path, *, v3: bool = False, login: bool = False) -> Iterator[Registry]:
    """An empty registry that keeps everything below `folder`."""
    binary = str(go_tool("registry")) if v3 else program("docker-registry", "apt-get install docker-registry")
    storage = folder / "storage"
    storage.mkdir(parents=True)
    config = _CONFIG.format(storage=storage)
    if login:
        (folder / "htpasswd").write_text(_HTPASSWD)
        config += _AUTH.format(htpasswd=folder / "htpasswd")
    (folder / "config.yml").write_text(config)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "OTEL_"))}
    env["OTEL_TRACES_EXPORTER"] = "none"
    log = folder / "registry.log"
    argv = [binary, "serve", str(folder / "config.yml")]
    with running(argv, log, lambda text: bool(_LISTENING.search(text)), env=env) as process:
        found = _LISTENING.search(log.read_text(errors="replace"))
        assert found
        who = (USER, PASSWORD) if login else ("", "")
        yield Registry(f"127.0.0.1:{found[1]}", storage, process.pid, *who)


@contextmanager
def olareg(folder: Path) -> Iterator[Registry]:
    """An empty registry with the referrers API of OCI 1.1."""
    storage = folder / "storage"
    storage.mkdir(parents=True)
    port = free_port()
    argv = [str(go_tool("olareg")), "serve", "--addr", "127.0.0.1", "--port", str(port), "--store-type", "mem"]
    with running(argv, folder / "olareg.log", lambda _: listening(port)) as process:
        yield Registry(f"127.0.0.1:{port}", storage, process.pid)
