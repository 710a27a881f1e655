"""One version, unpacked: its model, its server's source, its pod template.

A model container's model is copied by its own copy script; an image volume is the unpacked image itself.

A revision's folder is named by the template's hash and is whole once it holds `revision.json`. The primary's is kept
between rehearsals, so the primary goes on serving what was promoted even if Git has moved.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelpack.definition import Copy
from modelpack.errors import InputError, IntegrityError, NotFoundError, RemoteError
from modelpack.fields import read
from modelpack.reference import Reference
from modelpack.rehearse.plan import Plan
from modelpack.rehearse.state import replace_file
from modelpack.rehearse.workload import Workload, read_workload
from modelpack.target import Target

Unpack = Callable[[Reference, Path], None]
Export = Callable[[Path], None]
_RECORD = "revision.json"
_FAILED_VERIFICATION = 12  # the copy script's exit codes: 10 no space, 11 unwritable, 12 verification, 13 no source


@dataclass(frozen=True)
class Revision:
    """A version on disk. `image` has its digest; servers run in `source`, an export of the repository."""

    hash: str
    image: str
    folder: Path
    workload: Workload

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def volumes(self) -> Path:
        return self.folder / "volumes"


def prepare(
    plan: Plan, image: Reference, revisions: Path, unpack: Unpack, export: Export, *, serves: bool = False
) -> Revision:
    """Pull an image and put its model in place, unless that was done before.

    The source is exported again even then: what kept a server from starting may be mended. Not that of a revision that
    `serves` already. Raises IntegrityError, RemoteError, or InputError for an image that does not hold what is mounted.
    """
    folder = revisions / plan.hash
    if (folder / _RECORD).exists():
        found = load(plan.hash, revisions)
        if found.image == str(image):
            if not serves:
                _export_again(found, export)
            return found
    revision = Revision(plan.hash, str(image), folder, plan.workload)
    mounted = plan.workload.mounted
    root = plan.workload.model.folder(revision.volumes) if mounted else folder / "image"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        root.mkdir(parents=True)
        export(revision.source)
        unpack(image, root)
        if mounted:
            _check_mounted(plan.workload, revision.volumes)
        for mount in (plan.workload.model, *plan.workload.mounts):
            mount.folder(revision.volumes).mkdir(parents=True, exist_ok=True)
        if not mounted:
            _copy(root, plan.definition.copy.source, plan.workload.destination(revision.volumes))
            shutil.rmtree(root, ignore_errors=True)
        record = {
            "image": str(image),
            "template": plan.template,
            "target": asdict(plan.target),
            "copy": asdict(plan.definition.copy),
        }
        replace_file(folder / _RECORD, json.dumps(record).encode())
    except OSError as error:
        raise RemoteError(folder, f"cannot be written: {error.strerror}", "make room and try again") from error
    return revision


def _export_again(revision: Revision, export: Export) -> None:
    try:
        shutil.rmtree(revision.source, ignore_errors=True)
        export(revision.source)
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise RemoteError(revision.source, problem, "make room and try again") from error


def load(name: str, revisions: Path) -> Revision:
    """A revision prepared before. Raises NotFoundError or InputError if the state folder was tampered with."""
    folder = revisions / name
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_bytes())
        template = read(json.dumps(record["template"]), str(folder / _RECORD))
        return Revision(
            hash=name,
            image=str(record["image"]),
            folder=folder,
            workload=read_workload(template, Target(**record["target"]), Copy(**record["copy"])),
        )
    except FileNotFoundError as error:
        raise NotFoundError(folder, "the primary's model is gone", "remove the state folder to start anew") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(folder, "is not what a rehearsal wrote", "remove the state folder to start anew") from error


def _check_mounted(workload: Workload, volumes: Path) -> None:
    """What a kubelet checks as well: a subPath is a folder of the image."""
    for mount in workload.mounts:
        if mount.volume == workload.model.volume and not mount.folder(volumes).is_dir():
            raise InputError(
                f"volume {mount.volume!r} at {mount.path}",
                f"the image has no folder {mount.sub_path!r}",
                f"mount subPath: {workload.inside}",
            )


def _copy(root: Path, source: str, destination: Path) -> None:
    script = root / "modelpack" / "copy.sh"
    if not script.is_file():
        raise InputError(root, "the image holds no /modelpack/copy.sh", "build it with modelpack build")
    environ = {**os.environ, "MODELPACK_SRC": f"{root}{source}", "MODELPACK_DEST": str(destination)}
    done = subprocess.run(["sh", str(script)], env=environ, capture_output=True, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        kind = IntegrityError if done.returncode == _FAILED_VERIFICATION else RemoteError
        raise kind(destination, f"the copy script failed: {words}")
