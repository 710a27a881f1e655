"""The folder that stands for the cluster between rehearsals: the Canary's status, what the primary serves, the gate's.

Every file that somebody else may read meanwhile is replaced by rename. One rehearsal at a time holds the folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock

from modelpack.errors import InputError, RefusedError, RemoteError
from modelpack.rollout import Phase, Status


@dataclass(frozen=True)
class Cluster:
    """What is remembered: the status, and the hash of the template that the primary runs ("" before the first)."""

    status: Status = field(default_factory=Status)
    primary: str = ""

    def recovered(self) -> Cluster:
        """The same after a rehearsal that ended in mid-rollout: nothing runs but the primary, with what it had then."""
        if self.status.phase.settled or self.status.phase is Phase.INITIALIZING:
            return self
        status = Status(Phase.INITIALIZED, attempt=self.status.attempt + 1)
        return replace(self, status=replace(status, last_applied=self.primary, last_promoted=self.primary))


class State:
    """A state folder, locked while used as a context. Raises RefusedError if another rehearsal holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.logs = self.folder / "logs"
        self.reports = self.folder / "reports"
        self.revisions = self.folder / "revisions"
        self._stack = ExitStack()

    def __enter__(self) -> State:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(filelock.FileLock(self.folder / "lock", blocking=False))
        except filelock.Timeout as error:
            raise RefusedError(
                self.folder, "another rehearsal is using this state", "wait for it, or name another --state"
            ) from error
        except OSError as error:
            raise RemoteError(
                self.folder, f"cannot be written: {error.strerror}", "name another with --state"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def load(self) -> Cluster:
        """What the last rehearsal left. Raises InputError for a file that no rehearsal wrote."""
        file = self.folder / "cluster.json"
        try:
            value = json.loads(file.read_bytes())
            return Cluster(Status.from_json(value["status"]), str(value["primary"]))
        except FileNotFoundError:
            return Cluster()
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(file, "is not what a rehearsal wrote", "remove the state folder to start anew") from error

    def save(self, cluster: Cluster) -> None:
        self.write("cluster.json", _json({"status": cluster.status.to_json(), "primary": cluster.primary}))

    def write_target(self, target: Mapping[str, Any]) -> None:
        """Tell the gate where the rollout stands."""
        self.write("target.json", _json(target))

    def write_model(self, model: str, files: Mapping[str, bytes]) -> None:
        """Give the gate a model's gate.yaml and golden set."""
        for name, data in files.items():
            self.write(f"models/{model}/{name}", data)

    def write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)
        except OSError as error:
            raise RemoteError(path, f"cannot be written: {error.strerror}", "make room and try again") from error

    def forget_revisions(self, *keep: str) -> None:
        """Remove the models and sources of every version but these."""
        if self.revisions.is_dir():
            for folder in self.revisions.iterdir():
                if folder.name not in keep:
                    shutil.rmtree(folder, ignore_errors=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old bytes or the new ones, never a part."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(data)
    beside.replace(path)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"
