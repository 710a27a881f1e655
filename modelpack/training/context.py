"""What every step of a run is given."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modelpack.registry import Via
from modelpack.training.definition import Training
from modelpack.training.folder import Folder
from modelpack.training.run import Run

REPOSITORY = "MODELPACK_REPOSITORY"
"""The environment variable with the repository's location where that holds a login, which no file may."""


@dataclass(frozen=True)
class Context:
    """One run at work. `say` takes sentences for the log, `clock` gives unix seconds."""

    folder: Folder
    run: Run
    via: Via
    say: Callable[[str], None]
    clock: Callable[[], float]

    @cached_property
    def training(self) -> Training:
        """The training.yaml of the run's commit, once that is fetched."""
        return self.folder.training(self.run)

    @property
    def root(self) -> Path | None:
        """The folder that the repository lies in, None for one elsewhere."""
        path = Path(self.repository)
        return path.resolve() if path.is_dir() else None

    @property
    def repository(self) -> str:
        """Where the repository is, for git alone."""
        return os.environ.get(REPOSITORY, "") or self.run.repository
