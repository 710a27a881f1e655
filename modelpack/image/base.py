"""What a model container runs on: nothing, the host's busybox, or another image.

The copy script needs a shell. A model container that is only mounted (an image volume) or rehearsed needs none, so the
base may be `none`. A base's layers lie above the model's: they are re-used, not rewritten, and may not touch the model.
"""

from __future__ import annotations

import json
import platform
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelpack import oci
from modelpack.errors import IntegrityError, NotFoundError, RefusedError
from modelpack.files import File
from modelpack.image import tar
from modelpack.image.unpack import hidden_by, members, parts_of

OpenBlob = Callable[[str, int], Iterator[memoryview]]
"""Digest and size of a blob to its bytes, verified by the time the last has come."""

BUSYBOX = Path("/bin/busybox")
COPIER_FOLDER = "modelpack"
_MACHINES = {
    "x86_64": oci.Platform("linux", "amd64"),
    "aarch64": oci.Platform("linux", "arm64"),
    "armv7l": oci.Platform("linux", "arm", "v7"),
}
_GZIP_LAYER = oci.IMAGE_LAYER + "+gzip"
_LAYER_TYPES = {
    oci.IMAGE_LAYER: oci.IMAGE_LAYER,
    _GZIP_LAYER: _GZIP_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar": oci.IMAGE_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": _GZIP_LAYER,
}
_PT_INTERP = 3  # elf(5): the segment that names the dynamic loader, which a static program has not


@dataclass(frozen=True)
class Base:
    """One platform's base: its layers, what they are uncompressed, and the environment its programs expect."""

    platform: oci.Platform
    layers: tuple[oci.Layer, ...] = ()
    diff_ids: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


@dataclass(frozen=True)
class BaseLayer:
    """A base's layer, streamed from wherever the base is."""

    digest: str
    size: int
    media_type: str
    open: OpenBlob = field(repr=False, compare=False)

    def chunks(self) -> Iterator[memoryview]:
        return self.open(self.digest, self.size)


def bases_none() -> tuple[Base, ...]:
    """No files at all; the same on every host."""
    return (Base(oci.Platform("linux", "amd64")), Base(oci.Platform("linux", "arm64")))


def base_host_busybox(prefix: str) -> tuple[Base, ...]:
    """A layer made of this machine's static busybox and links for its applets; raises NotFoundError if it has none.

    Raises RefusedError where it would lie in `prefix`, the model's folder.
    """
    remedy = "apt install busybox-static, or choose another base"
    try:
        program = BUSYBOX.read_bytes()
    except OSError as error:
        raise NotFoundError(BUSYBOX, "is not there", remedy) from error
    if not _is_static(program):
        raise NotFoundError(BUSYBOX, "is not a static program", remedy)
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True, timeout=30).stdout
    applets = [name for name in listed.split() if name != "busybox"]
    files = [File("bin/busybox", size=len(program), executable=True)]
    files += [File(f"bin/{name}", "link", target="busybox") for name in applets]
    entries = tar.with_parents(files)
    layer = oci.Blob(tar.archive((file, program if file.size else b"") for file in entries), oci.IMAGE_LAYER)
    for entry in entries:
        _check(entry.path, entry.kind == "folder", layer.digest, prefix)
    machine = platform.machine()
    here = _MACHINES.get(machine, oci.Platform("linux", machine))
    return (Base(here, (layer,), (layer.digest,)),)


def bases_from(images: Iterable[tuple[oci.Manifest, bytes]], open_blob: OpenBlob, prefix: str) -> tuple[Base, ...]:
    """Bases out of other images, each a manifest with its config's bytes; `prefix` is the model's folder, "/models".

    Reads every layer once, to refuse entries and whiteouts that touch the model's folder or the copier's. Raises
    RefusedError, and IntegrityError for a config that does not fit its manifest.
    """
    return tuple(_base(manifest, config, open_blob, prefix) for manifest, config in images)


def _base(manifest: oci.Manifest, raw: bytes, open_blob: OpenBlob, prefix: str) -> Base:
    if oci.digest_of(raw) != manifest.config.digest:
        raise IntegrityError(manifest.digest, "its config is not the one that the manifest names")
    try:
        config = json.loads(raw)
        where = oci.Platform(config["os"], config["architecture"], config.get("variant", ""))
        diff_ids = tuple(str(each) for each in config["rootfs"]["diff_ids"])
        env = tuple(str(each) for each in (config.get("config") or {}).get("Env") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(manifest.config.digest, "is not the config of a container image") from error
    if len(diff_ids) != len(manifest.layers):
        raise IntegrityError(manifest.digest, f"has {len(manifest.layers)} layers, its config {len(diff_ids)}")
    layers = tuple(_layer(each, open_blob) for each in manifest.layers)
    for layer in layers:
        for member in members(layer.chunks()):
            _check(member.name, member.isdir(), layer.digest, prefix)
    return Base(where, layers, diff_ids, env)


def _layer(descriptor: oci.Descriptor, open_blob: OpenBlob) -> BaseLayer:
    media_type = _LAYER_TYPES.get(descriptor.media_type)
    if media_type is None:
        raise RefusedError(
            descriptor.digest, f"a base layer of type {descriptor.media_type}", "use a base with plain or gzip layers"
        )
    return BaseLayer(descriptor.digest, descriptor.size, media_type, open_blob)


def _check(name: str, folder: bool, digest: str, prefix: str) -> None:
    """Refuse an entry at or below the model's folder, or one that replaces or hides a folder above it."""
    parts = parts_of(name)
    hidden = hidden_by(parts) if parts else None
    if hidden is not None:
        parts, folder = hidden, False
    for owned in (parts_of(prefix.lstrip("/")), (COPIER_FOLDER,)):
        inside = parts[: len(owned)] == owned
        above = parts == owned[: len(parts)] and not folder
        if inside or above:
            raise RefusedError(digest, f"the base's entry {name!r} touches /{'/'.join(owned)}", "choose another base")


def _is_static(program: bytes) -> bool:
    """Whether an ELF program needs no loader."""
    if program[:4] != b"\x7fELF":
        return False
    order = "<" if program[5] == 1 else ">"
    start_type, start_at, sizes_at = ("Q", 32, 54) if program[4] == 2 else ("I", 28, 42)
    (start,) = struct.unpack_from(order + start_type, program, start_at)
    size, count = struct.unpack_from(order + "HH", program, sizes_at)
    kinds = (struct.unpack_from(order + "I", program, start + index * size)[0] for index in range(count))
    return _PT_INTERP not in kinds
