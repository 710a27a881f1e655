"""The `dvc` program itself, in a virtual environment of its own, outside the checkout and made once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from tests.integration.servers.gotools import TOOLS, cache
from tests.integration.servers.process import MissingError

_INSTALL_SECONDS = 600


class Dvc:
    """A Git repository with DVC in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._program = str(program())
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        (folder / ".dvc").mkdir()  # what `dvc init` makes; each start of it takes a second
        (folder / ".dvc" / "config").touch()

    def configure(self, **settings: str) -> None:
        """Set up the one remote, the default one, in .dvc/config."""
        lines = "".join(f"    {key} = {value}\n" for key, value in settings.items())
        (self.folder / ".dvc" / "config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n{lines}")

    def __call__(self, *words: str, within: str = "") -> str:
        """Run dvc; raises AssertionError with what it said if it fails."""
        own = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.folder.parent / "dvc-site")}
        argv = [self._program, *words]
        done = subprocess.run(
            argv, cwd=self.folder / within, env={**os.environ, **own}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"dvc {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout


def program() -> Path:
    """Where it is; installed if this is the first time. Raises MissingError where that fails."""
    pins = TOOLS / "dvc" / "requirements.txt"
    of = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    home = cache() / f"dvc-{of[:16]}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.parent / "dvc.lock"):
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            for argv in ([sys.executable, "-m", "venv", str(home)], [*pip, "-r", str(pins)]):
                done = subprocess.run(argv, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
                if done.returncode:
                    raise MissingError(f"dvc ({done.stderr[-500:]})", f"pip install -r {pins}, which needs a network")
            (home / "complete").touch()
    return home / "bin" / "dvc"
