"""Bases: none, this machine's busybox, another image; none of them may touch the model."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack import oci
from modelpack.errors import IntegrityError, NotFoundError, RefusedError
from modelpack.image import Base, base, base_host_busybox, bases_from, bases_none
from tests.unit.image.test_unpack import Entry, file, folder, link, tar_of

DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def image_of(data: bytes, media_type: str = oci.IMAGE_LAYER + "+gzip", **changes: object) -> tuple[oci.Manifest, bytes]:
    config = {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
        "config": {"Entrypoint": ["/x"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    }
    raw = json.dumps(config | changes).encode()
    manifest = {
        "config": oci.Blob(raw, oci.IMAGE_CONFIG).descriptor.to_json(),
        "layers": [oci.Descriptor(media_type, oci.digest_of(data), len(data)).to_json()],
    }
    return oci.Manifest(json.dumps(manifest).encode(), oci.IMAGE_MANIFEST), raw


def base_of(data: bytes, *images: tuple[oci.Manifest, bytes], prefix: str = "/opt/models") -> tuple[Base, ...]:
    def open_blob(digest: str, size: int) -> Iterator[memoryview]:
        assert (digest, size) == (oci.digest_of(data), len(data))
        yield memoryview(data)

    return bases_from(images or [image_of(data)], open_blob, prefix)


def test_none_is_the_same_on_every_host() -> None:
    assert [str(each.platform) for each in bases_none()] == ["linux/amd64", "linux/arm64"]
    assert all(each.layers == () == each.diff_ids for each in bases_none())


@pytest.mark.parametrize("media_type", [oci.IMAGE_LAYER + "+gzip", DOCKER_LAYER])
def test_from_another_image(media_type: str) -> None:
    data = gzip.compress(tar_of(folder("opt"), folder("bin"), file("bin/sh"), link("lib", "usr/lib")))
    (found,) = base_of(data, image_of(data, media_type))
    assert found.platform == oci.Platform("linux", "arm64", "v8")
    assert (found.env, found.diff_ids) == (("PATH=/bin",), ("sha256:" + "1" * 64,))
    (layer,) = found.layers
    assert (layer.media_type, layer.size) == ("application/vnd.oci.image.layer.v1.tar+gzip", len(data))
    assert b"".join(layer.chunks()) == data


TOUCHING: dict[str, Entry] = {
    "a file in the model": file("opt/models/w"),
    "the model's folder": folder("./opt/models/"),
    "a whiteout of the model": file("opt/.wh.models"),
    "a whiteout in the model": file("opt/models/.wh.w"),
    "a whiteout above": file(".wh.opt"),
    "an opaque folder above": file("opt/.wh..wh..opq"),
    "an opaque root": file(".wh..wh..opq"),
    "a link above": link("opt", "usr"),
    "a file above": file("opt"),
    "the copier's folder": folder("modelpack"),
    "a name out of the image": file("../x"),
}


@pytest.mark.parametrize("entry", TOUCHING.values(), ids=TOUCHING)
def test_a_base_that_touches_the_model(entry: Entry) -> None:
    with pytest.raises(RefusedError):
        base_of(tar_of(entry))


@pytest.mark.parametrize("name", ["opt/models2/w", "opt/.wh.models2", "usr/opt/models", ".wh.opt2", "models"])
def test_a_base_that_only_looks_like_it(name: str) -> None:
    assert base_of(tar_of(file(name)))


def test_layers_that_cannot_be_read() -> None:
    data = tar_of(file("a"))
    with pytest.raises(RefusedError, match="zstd"):
        base_of(data, image_of(data, oci.IMAGE_LAYER + "+zstd"))
    with pytest.raises(IntegrityError):
        base_of(data[:600])


def test_configs_that_do_not_fit() -> None:
    data = tar_of(file("a"))
    manifest, raw = image_of(data)
    for image in (
        (manifest, raw + b" "),
        image_of(data, rootfs={"diff_ids": []}),
        image_of(data, rootfs=None),
        image_of(data, config=[1]),
    ):
        with pytest.raises(IntegrityError):
            base_of(data, image)


def test_host_busybox() -> None:
    try:
        (found,) = base_host_busybox("/models")
    except NotFoundError as error:
        pytest.skip(str(error))
    assert base_host_busybox("/models") == (found,)
    (layer,) = found.layers
    with tarfile.open(fileobj=io.BytesIO(b"".join(layer.chunks()))) as archive:
        assert archive.getmember("bin/busybox").mode == 0o755
        assert archive.getmember("bin/sh").linkname == "busybox"
    assert found.diff_ids == (layer.digest,)
    assert found.platform.os == "linux"
    with pytest.raises(RefusedError, match="touches /bin"):
        base_host_busybox("/bin")


@pytest.mark.parametrize(
    "content", [None, b"#!/bin/sh\n", Path("/bin/ls").read_bytes()], ids=["none", "script", "dynamic"]
)
def test_a_host_without_a_static_busybox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.setattr(base, "BUSYBOX", tmp_path / "busybox")
    if content is not None:
        (tmp_path / "busybox").write_bytes(content)
    with pytest.raises(NotFoundError, match="busybox-static"):
        base_host_busybox("/models")
