"""The `modelpack` command as a user runs it: a process of its own, its exit code and what it printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODEL_YAML = """\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {{name: {name}}}
source: {source}
image: {image}
base: {base}
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line of an error; fails if there is more, or a traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0].removeprefix("error: ")


def argv(*words: object) -> list[str]:
    return [sys.executable, "-m", "modelpack", *map(str, words)]


def modelpack(*words: object, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120) -> Done:
    """Run a command in `cwd`, with a state folder of its own there."""
    done = subprocess.run(
        argv(*words), cwd=cwd, env=environ(cwd, env or {}), capture_output=True, text=True, timeout=timeout
    )
    return Done(done.returncode, done.stdout, done.stderr)


def environ(cwd: Path, more: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "MODELPACK_HOME": str(cwd / "home"), "MODELPACK_VIA": "", **more}


def write_model(folder: Path, image: str, *, source: str = "./artifacts/{version}", base: str = "none") -> Path:
    """A model.yaml for the model `mpg`, with artifacts of two versions that share a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(MODEL_YAML.format(name="mpg", source=source, image=image, base=base))
    for version in ("v1", "v2"):
        files = folder / "artifacts" / version
        (files / "sub dir").mkdir(parents=True)
        (files / "sub dir" / "übung.bin").write_bytes(bytes(range(256)) * 40)
        (files / "empty").mkdir()
        (files / "nothing").write_bytes(b"")
        (files / "link").symlink_to("sub dir/übung.bin")
        (files / "weights.json").write_text(f'{{"version": "{version}"}}\n')
    return folder
