"""The copy script, run by three shells as an init container runs it: volumes that are full, read-only or in use."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelpack.definition import Copy
from modelpack.image import assemble, bases_none, copy_script, extract, plan_layers
from tests.fakes.source import FakeSource
from tests.integration.conftest import available
from tests.integration.servers import MissingError
from tests.integration.servers.process import program

Content = dict[str, bytes | int | str | None]
MIB = 1 << 20
TOOLS = ["sh", "cp", "mv", "mkdir", "rm", "rmdir", "ln", "ls", "df", "sha256sum"]
AWKWARD: Content = {
    "plain": b"1",
    "with space ": b"2",
    " leading": b"3",
    "-rf": b"4",
    "*": b"5",
    "[a]?": b"6",
    "quote'\"`$(id)": b"7",
    "back\\slash\\n": b"8",
    "ünï/日本": b"9",
    "empty": b"",
    "hollow/inner": None,
    "sub/deep/w.bin": bytes(range(256)) * 5000,
    "sub/up": "-> ../plain",
    "-link": "-> -rf",
    "dangling": "-> not there",
    "to folder": "-> sub",
}


@dataclass(frozen=True)
class Container:
    """A model container's file system, unpacked, and the shell that runs its script."""

    root: Path
    shell: list[str]
    path: str
    digest: str

    def start(self, volume: Path) -> subprocess.Popen[str]:
        environment = {"MODELPACK_SRC": f"{self.root}/models", "MODELPACK_DEST": str(volume), "PATH": self.path}
        command = [*self.shell, f"{self.root}/modelpack/copy.sh"]
        return subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True)

    def run(self, volume: Path) -> tuple[int, str]:
        process = self.start(volume)
        out, err = process.communicate(timeout=60)
        assert bool(err) == bool(process.returncode), err
        return process.returncode, out + err


Build = Callable[..., Container]


@pytest.fixture(params=["dash", "busybox", "bash"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Build]:
    """Makes containers that one shell runs; busybox's finds nothing but the tools that the script says it needs."""
    with available(lambda: _shell(request.param, tmp_path / "bin")) as (shell, path):

        def made(content: Content, verify: str = "size", *, name: str = "image") -> Container:
            source = FakeSource(content)
            copy = Copy("/models", "/mnt/models", verify)
            layers = [
                layer.with_digest("sha256:" + hashlib.sha256(b"".join(layer.chunks())).hexdigest())
                for layer in plan_layers(source, source.files(), copy.source)
            ]
            artifact = assemble(name="m", version="v1", copy=copy, layers=layers, bases=bases_none())
            for layer in artifact.layers:
                extract(layer.chunks(), tmp_path / name)
            return Container(tmp_path / name, shell, path, artifact.model_digest)

        yield made


@contextmanager
def _shell(name: str, tools: Path) -> Iterator[tuple[list[str], str]]:
    found = program(name, "busybox-static" if name == "busybox" else name)
    if name != "busybox":
        yield [found], "/usr/bin:/bin"
        return
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).symlink_to(found)
    yield [str(tools / "sh")], str(tools)


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with available(lambda: _tmpfs(tmp_path / "volume")) as volume:
        yield volume


@contextmanager
def _tmpfs(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        raise MissingError(f"a disk of 4 MiB ({done.stderr.strip()})", "run as root, who may mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """What is in a volume: bytes of files, targets of links, None for empty folders; without the script's own files."""
    found: dict[str, bytes | str | None] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[name] = None
    assert ".modelpack.tmp" not in found
    return {name: value for name, value in found.items() if not name.startswith(".modelpack.")}


def marker(volume: Path) -> object:
    path = volume / ".modelpack.json"
    return json.loads(path.read_text()) if path.exists() else None


@pytest.mark.parametrize("verify", ["size", "sha256"])
def test_copies_bit_for_bit_and_says_so_last(build: Build, tmp_path: Path, verify: str) -> None:
    container = build(AWKWARD, verify)
    volume = tmp_path / "vol ume"
    code, out = container.run(volume)
    assert (code, container.digest in out) == (0, True), out
    assert tree(volume) == AWKWARD
    assert marker(volume) == {"model": container.digest, "version": "v1", "files": 11, "bytes": 256 * 5000 + 9}
    modes = {path.stat().st_mode & 0o777 for path in volume.rglob("*") if path.is_file() and not path.is_symlink()}
    assert modes == {0o644}


def test_a_second_run_writes_nothing(build: Build, tmp_path: Path) -> None:
    container, volume = build({"w": b"1"}), tmp_path / "volume"
    assert container.run(volume)[0] == 0
    (volume / "w").unlink()  # would come back if anything were copied
    assert container.run(volume)[0] == 0
    assert tree(volume) == {}


def test_an_older_model_makes_way(build: Build, tmp_path: Path) -> None:
    older: Content = {
        "same": b"1",
        "gone": b"1",
        "old/deep/w": b"1",
        "file then folder": b"1",
        "folder then file/w": b"1",
        "file then link": b"1",
        "link then file": "-> same",
        "folder then link/b": b"1",
        "link then folder": "-> old",
        "kept/by server": b"1",
    }
    newer: Content = {
        "same": b"22",
        "file then folder/w": b"2",
        "folder then file": b"2",
        "file then link": "-> same",
        "link then file": b"2",
        "b/b": b"2",
        "folder then link": "-> b",
        "link then folder/w": b"2",
    }
    volume = tmp_path / "volume"
    assert build(older, name="older").run(volume)[0] == 0
    (volume / "kept" / "cache").write_bytes(b"the server's own")
    container = build(newer, name="newer")
    assert container.run(volume)[0] == 0
    assert tree(volume) == {**newer, "kept/cache": b"the server's own"}
    assert marker(volume) == {"model": container.digest, "version": "v1", "files": 6, "bytes": 7}


def test_the_list_on_the_volume_is_not_trusted(build: Build, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "outside").write_bytes(b"untouched")
    (volume / ".modelpack.files").write_text("../outside\n\n/\n.\n..\nx/../../outside\n")
    assert build({"w": b"1"}).run(volume)[0] == 0
    assert (tmp_path / "outside").exists() and tree(volume) == {"w": b"1"}


@pytest.mark.parametrize("after", [1, 20, 40])
def test_killed_half_way_and_started_again(build: Build, tmp_path: Path, after: int) -> None:
    volume = tmp_path / "volume"
    older: Content = {f"old{index}": b"1" for index in range(5)}
    # many more than are waited for: on a busy machine the copy goes on between two looks
    newer: Content = {f"f{index:03}": bytes([index]) * 1000 for index in range(200)}
    assert build(older, name="older").run(volume)[0] == 0
    container = build(newer, name="newer")
    process = container.start(volume)
    while sum(path.name.startswith("f") for path in volume.iterdir()) < after:
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert marker(volume) is None
    (volume / ".modelpack.tmp").write_bytes(b"half a file")
    last = build({"w": b"3"}, name="last")
    for each, expected in ((container, newer), (container, newer), (last, {"w": b"3"})):
        assert each.run(volume)[0] == 0
        assert tree(volume) == expected


def test_another_model_after_a_killed_run_leaves_nothing_of_it(build: Build, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    process = build({f"f{index:03}": b"1" for index in range(60)}, name="first").start(volume)
    while not (volume / "f020").exists():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert build({"w": b"2"}, name="second").run(volume)[0] == 0
    assert tree(volume) == {"w": b"2"}


def test_stopped_by_the_kubelet(build: Build, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    process = build({f"f{index:03}": b"1" for index in range(60)}).start(volume)
    while not (volume / "f001").exists():
        assert process.poll() is None
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 143 and marker(volume) is None
    assert not (volume / ".modelpack.tmp").exists()


def test_no_space_is_known_before_a_byte_is_copied(build: Build, small_volume: Path) -> None:
    code, out = build({"w": 5 * MIB, "x": b"1"}).run(small_volume)
    assert code == 10 and "5124 KiB" in out and "4096 KiB are free" in out
    assert tree(small_volume) == {} and marker(small_volume) is None


def test_space_counts_what_is_replaced_and_removed(build: Build, small_volume: Path) -> None:
    """What is replaced part by part needs room for one part, and what is removed needs none."""
    parts: Content = {f"part{index}": 900 * 1024 for index in range(3)}
    assert build(parts, name="one").run(small_volume)[0] == 0
    assert build({**parts, "more": b"2"}, name="two").run(small_volume)[0] == 0
    assert build({"whole": 3 * MIB}, name="three").run(small_volume)[0] == 0
    code, out = build({"whole": 3 * MIB, "more": b"4"}, name="four").run(small_volume)  # both would lie side by side
    assert code == 10, out


def test_a_disk_that_fills_up_while_copying(build: Build, small_volume: Path, tmp_path: Path) -> None:
    container = build({**{f"a{index:03}": b"1" for index in range(60)}, "w": 3 * MIB})
    process = container.start(small_volume)
    while not (small_volume / "a001").exists():
        assert process.poll() is None
    (small_volume / "other").write_bytes(b"x" * 2 * MIB)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 10 and "w needs" in err
    assert marker(small_volume) is None and not (small_volume / ".modelpack.tmp").exists()
    (small_volume / "other").unlink()
    assert container.run(small_volume)[0] == 0


def test_a_read_only_volume(build: Build, small_volume: Path) -> None:
    container = build({"w": b"1"})
    remount = ["mount", "-o", "remount,{}", str(small_volume)]
    subprocess.run([part.format("ro") for part in remount], check=True)
    code, out = container.run(small_volume)
    assert code == 11 and "cannot be written" in out
    subprocess.run([part.format("rw") for part in remount], check=True)
    assert container.run(small_volume)[0] == 0
    subprocess.run([part.format("ro") for part in remount], check=True)
    assert container.run(small_volume)[0] == 0  # it is there already


@pytest.mark.parametrize("verify", ["size", "sha256"])
def test_a_copy_that_is_wrong(build: Build, tmp_path: Path, verify: str) -> None:
    container = build({"w": b"1234"}, verify)
    (container.root / "models" / "w").write_bytes(b"123")
    code, out = container.run(tmp_path / "volume")
    assert code == 12 and "3 bytes, not 4" in out
    assert marker(tmp_path / "volume") is None


@pytest.mark.parametrize("lost", ["models", "models/w", "modelpack/files"])
def test_no_model_in_the_image(build: Build, tmp_path: Path, lost: str) -> None:
    container = build({"w": b"1"})
    (container.root / lost).rename(tmp_path / "elsewhere")
    assert container.run(tmp_path / "volume")[0] == 13
    assert marker(tmp_path / "volume") is None


def test_a_reader_sees_each_file_whole(build: Build, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    size = 8 * MIB
    containers = [build({"w": bytes([index]) * size}, name=f"v{index}") for index in range(2)]
    assert containers[0].run(volume)[0] == 0
    seen: set[tuple[int, ...]] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            data = (volume / "w").read_bytes()
            seen.add((len(data), *sorted(set(data))))
            time.sleep(0.001)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for index in (1, 0, 1):
            assert containers[index].run(volume)[0] == 0
    finally:
        done.set()
        reader.join()
    assert seen <= {(size, 0), (size, 1)}


def test_runs_from_its_own_folder_and_by_its_name(build: Build, tmp_path: Path) -> None:
    container = build({"w": b"1"})
    environment = {"MODELPACK_SRC": "../models", "MODELPACK_DEST": "-volume", "PATH": container.path}
    command = [*container.shell, "copy.sh"]
    subprocess.run(command, cwd=container.root / "modelpack", env=environment, check=True, capture_output=True)
    assert tree(container.root / "modelpack" / "-volume") == {"w": b"1"}


@pytest.mark.parametrize("verify", ["size", "sha256"])
def test_shellcheck_has_nothing_to_say(tmp_path: Path, verify: str) -> None:
    script = tmp_path / "copy.sh"
    script.write_bytes(copy_script(Copy("/it's here", "/mnt/a b", verify), "sha256:" + "0" * 64, "v1", ()))
    done = subprocess.run(["shellcheck", "--shell=sh", script], capture_output=True, text=True, env={"PATH": _venv()})
    assert done.returncode == 0, done.stdout


def _venv() -> str:
    import sys

    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"
