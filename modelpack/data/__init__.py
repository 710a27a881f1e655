"""Training data by version: what Git, DVC or a bucket names now, its files, and what is added to a DVC remote.

In: `dvc:FILE.dvc`, `dvc:dvc.lock#OUTPUT`, `s3://bucket/prefix`, `git:PATH` and a commit. Out: a version, and files in a
folder. `root` is always the folder that the repository lies in, where DVC remotes with a relative path start; None
where there is none.
"""

from __future__ import annotations

from pathlib import Path

from modelpack.data.table import table
from modelpack.data.version import Checkout, Tree, Version, split
from modelpack.errors import InputError

__all__ = ["Checkout", "Tree", "Version", "add", "fetch", "look", "put", "table"]


def look(source: str, folder: str, tree: Tree, root: Path | None = None) -> Version:
    """The version that `source` names; its paths start at `folder` in the repository.

    Cheap: one object is asked for, or one listing. Raises NotFoundError for what Git or the bucket does not have,
    InputError, RefusedError, RemoteError.
    """
    kind, rest = split(source)
    if kind == "dvc":
        from modelpack.data import dvc

        return dvc.look(rest, folder, tree, root)
    if kind == "s3":
        from modelpack.data import bucket

        return bucket.look(source)
    from modelpack.data import git

    return git.look(rest, folder, tree)


def fetch(source: str, folder: str, tree: Tree, version: str, into: Path, root: Path | None = None) -> Path:
    """Bring one version into the folder `into`; gives the file or folder, which is there whole or not at all.

    Of a version that is not the present one, DVC has what its remote has, Git a single file's. Raises NotFoundError,
    IntegrityError for other bytes, RemoteError (a full disk too), and what `look` raises.
    """
    kind, rest = split(source)
    if not version.startswith(f"{kind}:"):
        raise InputError(version, f"is no version of {source}", f"it starts with {kind}:")
    if kind == "dvc":
        from modelpack.data import dvc

        return dvc.fetch(rest, folder, tree, version, into, root)
    if kind == "s3":
        from modelpack.data import bucket

        return bucket.fetch(source, version, into)
    from modelpack.data import git

    return git.fetch(rest, folder, tree, version, into)


def add(path: Path, out: str, folder: str, tree: Tree, root: Path | None = None) -> bytes:
    """Send a file or folder to the DVC remote; gives the bytes of the `.dvc` file `out` below `folder`.

    Sent again, nothing is sent and the bytes are the same; `dvc pull` takes it.
    """
    from modelpack.data import dvc

    return dvc.add(path, out, folder, tree, root)


def put(location: str, path: Path) -> str:
    """Write a file into `location`, or a folder's files: `s3://bucket/prefix` or a folder. Gives where it lies now."""
    from modelpack.data.objects import open_objects
    from modelpack.source.local import LocalSource

    source, objects = LocalSource(str(path)), open_objects(location)
    for each in source.files():
        if each.kind == "file":
            objects.write(each.path, each.size, source.read(each))
    return objects.place if path.is_dir() else f"{objects.place}/{path.name}"
