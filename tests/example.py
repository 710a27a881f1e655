"""What the tests of the examples share: programs of an example run as its README would, and its server."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

_IMAGES = Path(__file__).parents[1] / "model-images"
_ENV = {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Example:
    """One of model-images/*, run by this interpreter; `place` is a copy of its folder, None for its own."""

    name: str
    place: Path | None = None

    @property
    def folder(self) -> Path:
        return self.place or _IMAGES / self.name

    def python(self, *words: object, **more: str) -> str:
        """Run a program in its folder; gives what it printed."""
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **_ENV, **more}, check=True, capture_output=True, text=True
        )
        return done.stdout

    @contextlib.contextmanager
    def serving(self, model: Path, more: Mapping[str, str] | None = None) -> Iterator[str]:
        """Its server of a model's folder, by its address; it has to end well."""
        env = {**os.environ, **_ENV, "MODEL_DIR": str(model), "PORT": "0", "HOST": "127.0.0.1", **(more or {})}
        words = [sys.executable, str(self.folder / "serve.py")]
        with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                port = process.stdout.readline().rpartition("127.0.0.1:")[2].split()[0]
                yield f"http://127.0.0.1:{port}"
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skip where a library is missing; a run that is to skip nothing fails there."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    skip = bool(missing) and os.environ.get("MODELPACK_TESTS") != "all"
    return pytest.mark.skipif(skip, reason=f"needs {', '.join(modules)}: uv pip install --group example --extra train")
