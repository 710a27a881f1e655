"""Servers written in Go, at the versions that tests/tools/*/go.mod pins: built once, into a cache outside the checkout.

`python -m tests.integration.servers.gotools` builds all of them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

from tests.integration.servers.process import MissingError, ServerError

TOOLS = Path(__file__).parents[2] / "tools"
BUILD_SECONDS = 1800


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "modelpack-tests" / "bin"


def go_tool(name: str) -> Path:
    """The program that tests/tools/NAME pins, built if this is the first time. Raises MissingError without Go."""
    folder = TOOLS / name
    pinned = hashlib.sha256((folder / "go.mod").read_bytes() + (folder / "go.sum").read_bytes()).hexdigest()
    binary = cache() / f"{name}-{pinned[:16]}"
    if binary.exists():
        return binary
    go = shutil.which("go", path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/go/bin")
    if not go:
        raise MissingError(
            f"{name} ({folder.name}/go.mod)",
            "Go 1.21 or later from https://go.dev/dl",
        )
    binary.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{binary}.lock"):
        if not binary.exists():
            _build(go, folder, binary)
    return binary


def _build(go: str, folder: Path, binary: Path) -> None:
    unfinished = binary.with_name(f".{binary.name}.{os.getpid()}")
    command = [go, "build", "-buildvcs=false", "-mod=readonly", "-o", str(unfinished), "tool"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS)
    if done.returncode:
        raise ServerError(f"building {folder.name} failed:\n{done.stderr[-4000:]}")
    unfinished.replace(binary)


if __name__ == "__main__":
    for tool in sorted(each.parent.name for each in TOOLS.glob("*/go.mod")):
        print(go_tool(tool))
