"""What was built on this machine, as references to the files that the layers are made of.

The model itself is not copied: a record says where the files are, how they looked and what their layers' digests are.
That is enough to assemble the same manifests again, byte for byte, so those are not kept either. State lives in
`$MODELPACK_HOME`, else `$XDG_STATE_HOME/modelpack`, else `~/.local/state/modelpack`; a record is
`store/<registry>/<repository>/<tag>.json`, replaced by rename.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelpack.definition import Copy
from modelpack.errors import IntegrityError, NotFoundError, RemoteError
from modelpack.files import File
from modelpack.reference import Reference

_FORMAT = 1


def home() -> Path:
    """The folder of modelpack's state; nothing is created here."""
    named = os.environ.get("MODELPACK_HOME")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "modelpack"


@dataclass(frozen=True)
class Record:
    """One built reference. `layers` are the digests of what `image.plan_layers` makes of `files`, in its order.

    `annotations` are those that the build was given for the index.
    """

    reference: str
    model: str
    version: str
    source: str
    copy: Copy
    base: str
    files: tuple[File, ...]
    layers: tuple[str, ...]
    index_digest: str
    annotations: Mapping[str, str] = field(default_factory=dict)


class Store:
    """The records below one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or home() / "store"

    def save(self, record: Record) -> None:
        """Write a record; raises RemoteError when the disk does not take it, and then the one before still stands."""
        path = self._path(Reference.parse(record.reference))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
                try:
                    file.write(json.dumps({"format": _FORMAT, **asdict(record)}).encode())
                    file.flush()
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise RemoteError(
                path, f"cannot be written: {error.strerror}", "make room, or set MODELPACK_HOME to another folder"
            ) from error

    def load(self, reference: Reference) -> Record:
        """The record of a reference; NotFoundError if nothing was built under that name here."""
        path = self._path(reference)
        try:
            value: dict[str, Any] = json.loads(path.read_bytes())
            if value.pop("format") != _FORMAT:
                raise ValueError
            value["copy"] = Copy(**value["copy"])
            value["files"] = tuple(File(**each) for each in value["files"])
            value["layers"] = tuple(value["layers"])
            return Record(**value)
        except FileNotFoundError as error:
            raise NotFoundError(reference, "was not built on this machine", "run modelpack build first") from error
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise IntegrityError(path, "is not a record that this version can read", "build again") from error

    def _path(self, reference: Reference) -> Path:
        return self.folder / reference.registry / reference.repository / f"{reference.tag or 'latest'}.json"
