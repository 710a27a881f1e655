"""The layer on top of every model container: the copy script and the list of what it copies.

The script is rendered by jinja2 from `copy.sh.j2`, which says what it does and what its exit codes mean.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from modelpack import oci
from modelpack.definition import Copy
from modelpack.errors import InputError
from modelpack.files import File
from modelpack.image import tar
from modelpack.image.base import COPIER_FOLDER
from modelpack.image.layers import MARKER, PATHS, TEMPORARY

SCRIPT = f"/{COPIER_FOLDER}/copy.sh"
_KINDS = {"file": "f", "folder": "d", "link": "l"}


def copy_script(copy: Copy, model_digest: str, version: str, files: Sequence[File]) -> bytes:
    """The POSIX sh script that copies a model from the image to the volume, and writes there which one it is."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modelpack.image", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (the output is a shell script, and every value is quoted for one)
    )
    environment.filters["quote"] = shlex.quote
    sizes = [file.size for file in files if file.kind == "file"]
    mark = {"model": model_digest, "version": version, "files": len(sizes), "bytes": sum(sizes)}
    marker = oci.canonical_json(mark).decode()
    values = {"source": copy.source, "to": copy.to, "verify": copy.verify, "mark": marker}
    names = {"marker": MARKER, "paths": PATHS, "temporary": TEMPORARY}
    return environment.get_template("copy.sh.j2").render(values | names).encode()


def copier(copy: Copy, model_digest: str, version: str, files: Sequence[File]) -> oci.Blob:
    """The layer with the script, its lists, and the mount point, whose mode a fresh docker volume inherits."""
    source, to, own = PurePosixPath(copy.source), PurePosixPath(copy.to), PurePosixPath(f"/{COPIER_FOLDER}")
    for one, other in ((source, to), (source, own), (to, own)):
        if one == other or one in other.parents or other in one.parents:
            raise InputError("model.yaml: copy", f"{one} and {other} lie in each other", "choose folders side by side")
    entries = tar.with_parents(files)
    contents = {
        f"{COPIER_FOLDER}/copy.sh": copy_script(copy, model_digest, version, files),
        f"{COPIER_FOLDER}/files": _files(entries),
        f"{COPIER_FOLDER}/paths": _paths(entries),
    }
    own_files = [File(path, size=len(data), executable=path.endswith(".sh")) for path, data in contents.items()]
    mount = str(to.relative_to("/"))  # with its parents: some runtimes make missing ones that only root may enter
    folders = tar.with_parents([File(mount, "folder")])
    headers = b"".join(tar.header(each, 0o777 if each.path == mount else 0o755) for each in folders)
    rest = tar.archive((file, contents.get(file.path, b"")) for file in tar.with_parents(own_files))
    return oci.Blob(headers + rest, oci.IMAGE_LAYER)


def _files(entries: Sequence[File]) -> bytes:
    """What to copy, a line each: kind (f, d, l), size in bytes, path; the line after a link's is its target."""
    lines = []
    for entry in entries:
        lines.append(f"{_KINDS[entry.kind]} {entry.size} {entry.path}")
        if entry.kind == "link":
            lines.append(entry.target)
    return "".join(f"{line}\n" for line in lines).encode()


def _paths(entries: Sequence[File]) -> bytes:
    """What will be in the volume, for the next version's script: files and links, then folders (with /) from within."""
    folders = [f"{entry.path}/" for entry in reversed(entries) if entry.kind == "folder"]
    others = [entry.path for entry in entries if entry.kind != "folder"]
    return "".join(f"{line}\n" for line in [*others, *folders]).encode()
