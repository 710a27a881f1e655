"""Builds the project's Dockerfiles without a daemon, on a Debian base that is made here.

Everything is kept below the tests' cache under a name that says what it was made of, so a second run, or another
checkout with the same files, builds nothing. Two processes wait for each other.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.integration.servers.gotools import cache
from tests.integration.servers.process import ServerError, program

ROOT = Path(__file__).parents[2]
TAG = "built"
"""The tag that every layout here has its image under."""

RELEASE = "bookworm"
PACKAGES = ("ca-certificates", "git", "libstdc++6", "python3", "python3-venv")
# documentation, languages, and perl: git needs it for its mail and its prompts, and Debian while it installs itself
LEFT_OUT = ("share/doc", "share/info", "share/locale", "share/man", "share/perl", "lib/*/perl", "lib/*/gconv")


def key_of(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


BASE = f"localhost/base-{key_of(RELEASE, *PACKAGES, *LEFT_OUT)}"
SECONDS = 900
STAGE = "dependencies"
"""The stage of each Dockerfile that downloads; it has a tag of its own, and so outlives what was built on it."""

MOST_IMAGES = 60  # in the builder's storage; with more, what no tag leads to is removed: what earlier sources made
KEPT_SECONDS = 3600  # an older build of the same image is removed when nobody asked for it for this long


@dataclass(frozen=True)
class Kept:
    """A layout that is being made in `folder`. `earlier` is the newest one of the same name, None if there is none."""

    folder: Path
    earlier: Path | None


def modelpack() -> Path:
    """The image of the gate and of settle, from manifests/gate/Dockerfile."""
    return built("modelpack", ROOT / "manifests" / "gate" / "Dockerfile", ROOT, _sources())


def train() -> Path:
    """What training runs in, from manifests/tekton/Dockerfile."""
    return built("train", ROOT / "manifests" / "tekton" / "Dockerfile", ROOT, _sources())


def server() -> Path:
    """The example's server, from model-images/mpg/Dockerfile."""
    folder = ROOT / "model-images" / "mpg"
    return built("mpg", folder / "Dockerfile", folder, [folder / "serve.py"])


def keep(name: str, key: str, make: Callable[[Kept], None]) -> Path:
    """The layout of an image made of what `key` says; made if it is not there, whole or not at all."""
    folder = _images() / f"{name}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_images() / f"{name}.lock"):
        others = sorted(_images().glob(f"{name}-????????????????"), key=lambda each: each.stat().st_mtime)
        if not folder.is_dir():
            unfinished = _images() / f".{name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            make(Kept(unfinished, others[-1] if others else None))
            unfinished.replace(folder)
        os.utime(folder)
        for each in others:
            if each != folder and each.stat().st_mtime < time.time() - KEPT_SECONDS:
                shutil.rmtree(each)
    return folder


def _images() -> Path:
    return cache().parent / "images"


def _sources() -> list[Path]:
    files = [ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    return [*files, *_files(ROOT / "modelpack")]


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def tidy(most: int) -> None:
    """Remove what no tag leads to from the builder's storage, if it holds more images than `most`."""
    if len(buildah("images", "--quiet").splitlines()) > most:
        buildah("rmi", "--prune")


def _make_base() -> None:
    """Put Debian with Python and git into the builder's storage. Takes a minute, and the network, once."""
    tidy(MOST_IMAGES)
    with suppress(ServerError):
        buildah("inspect", "--type=image", BASE)
        return
    archive = _images() / "base.tar"
    remove = f"--customize-hook=cd $1/usr && rm -rf {' '.join(LEFT_OUT)}"
    command = [program("mmdebstrap", "apt-get install mmdebstrap"), "--variant=essential", remove]
    try:
        _run([*command, f"--include={','.join(PACKAGES)}", RELEASE, str(archive)])
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, str(archive), "/")
        buildah("commit", "--quiet", "--rm", container, BASE)
    finally:
        archive.unlink(missing_ok=True)


def built(name: str, dockerfile: Path, context: Path, files: Iterable[Path]) -> Path:
    """The image that a Dockerfile makes of the files of its context; `files` are those that count."""
    digests = [f"{each.relative_to(ROOT)} {hashlib.sha256(each.read_bytes()).hexdigest()}" for each in files]
    ignored = dockerfile.with_name("Dockerfile.dockerignore")

    def make(kept: Kept) -> None:
        _make_base()
        if kept.earlier:  # layers that are there already are not written again
            blobs = Path("blobs", "sha256")
            (kept.folder / blobs).mkdir(parents=True)
            for blob in (kept.earlier / blobs).iterdir():
                (kept.folder / blobs / blob.name).hardlink_to(blob)
        pip = _images() / "pip.conf"
        pip.write_text(_pip_settings())
        # the build sees the machine's certificates and pip's settings for as long as it lasts; none gets into the image
        mounts = [f"--volume={pip}:/etc/pip.conf:ro"]
        mounts += [f"--volume={each}:{each}:ro" for each in ("/etc/ssl/certs",) if Path(each).is_dir()]
        options = ["--quiet", "--layers", "--pull=false", "--isolation=chroot", "--network=host", *mounts]
        options += [f"--ignorefile={ignored}"] if ignored.exists() else []
        options += [f"--build-arg=BASE={BASE}", f"--file={dockerfile}"]
        buildah("bud", *options, f"--target={STAGE}", f"--tag={name}-{STAGE}", str(context))
        image = buildah("bud", *options, f"--tag={name}", str(context)).splitlines()[-1]
        storage = f"containers-storage:[overlay@{_storage()}+{_storage()}/run]{image}"
        copy = [program("skopeo", "apt-get install skopeo"), "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
        _run([*copy, storage, f"oci:{kept.folder}:{TAG}"])
        _forget_unused(kept.folder)

    def alone(kept: Kept) -> None:
        with FileLock(_images() / "storage.lock"):
            make(kept)

    return keep(name, key_of(BASE, dockerfile.read_text(), *digests), alone)


def _forget_unused(folder: Path) -> None:
    """Remove the blobs that the layout's image does not have: what an earlier one left."""
    from modelpack.registry import LayoutRepository

    image = LayoutRepository(folder).manifest(TAG)
    used = {each.digest.partition(":")[2] for each in (image.descriptor, image.config, *image.layers)}
    for blob in (folder / "blobs" / "sha256").iterdir():
        if blob.name not in used:
            blob.unlink()


def _pip_settings() -> str:
    """How pip reaches its index here, from its variables and its configuration, as a file."""
    lines = _run(["python3", "-m", "pip", "config", "list"]).splitlines()
    stated = [line.split("=", 1) for line in lines if line.startswith(("global.", ":env:."))]
    found = {key.rpartition(".")[2]: value.strip("'") for key, value in stated}
    wanted = ("cert", "index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
    return "\n".join(["[global]", *(f"{key} = {found[key]}" for key in wanted if key in found), ""])


def buildah(*words: str) -> str:
    """Run buildah with a storage of its own, in the cache: its layers are what makes the next build short."""
    options = [f"--root={_storage()}", f"--runroot={_storage()}/run", "--storage-driver=overlay"]
    return _run([program("buildah", "apt-get install buildah"), *options, *words]).strip()


def _storage() -> Path:
    return _images() / "storage"


def _run(command: list[str]) -> str:
    # tests have a folder without logins there, and buildah asks for a file
    env = {key: value for key, value in os.environ.items() if key != "DOCKER_CONFIG"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, env=env)
    if done.returncode:
        raise ServerError(f"{' '.join(command[:4])} failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done.stdout
