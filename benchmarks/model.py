"""Models to measure with, and the command that packages and pushes one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PIECE = 8 << 20

DEFINITION = """\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {name: bench}
source: ./shards
image: registry.example.com/models/bench
copy: {from: /models, to: /mnt/models}
targets:
- {file: deployment.yaml, kind: Deployment, name: bench, initContainer: model}
"""


def make(folder: Path, size: int, shards: int, *, sparse: bool = False) -> list[Path]:
    """A model.yaml and `shards` files of `size` bytes together; random, or holes with a number in front."""
    (folder / "shards").mkdir(parents=True)
    (folder / "model.yaml").write_text(DEFINITION)
    paths = [folder / "shards" / f"model-{number}-of-{shards}.bin" for number in range(1, shards + 1)]
    for number, path in enumerate(paths):
        left = size // shards
        with path.open("wb") as file:
            if sparse:
                file.write(bytes([number + 1])[:left])
                file.truncate(left)
            while left and not sparse:
                left -= file.write(os.urandom(min(_PIECE, left)))
    return paths


def warm(paths: list[Path]) -> None:
    """Read everything once, so that everybody finds it in the page cache."""
    buffer = bytearray(_PIECE)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def build_and_push(model: Path, address: str, base: str = "none") -> list[str]:
    return [
        *(sys.executable, "-m", "modelpack", "build", str(model), "--version", "v1"),
        *("-t", f"{address}/models/bench:v1", "--base", base, "--push"),
    ]


def environment(scratch: Path) -> dict[str, str]:
    """The caller's, with every folder a tool may write to below `scratch`."""
    foreign = ("MODELPACK_", "DOCKER_", "XDG_", "PYTHON")  # without bytecode Python would compile everything each time
    env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    for name in ("home", "tmp"):
        (scratch / name).mkdir(exist_ok=True)
    return env | {"HOME": str(scratch / "home"), "TMPDIR": str(scratch / "tmp"), "LC_ALL": "C.UTF-8"}
