"""Files and folders put in place whole or not at all, from bytes that come in pieces."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelpack.errors import RemoteError

_AT_A_TIME = 8


def write_file(path: Path, size: int, pieces: Iterable[memoryview]) -> None:
    """Write a file of `size` bytes, and its folder. Raises RemoteError where the disk does not take it."""
    unfinished = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(path.parent).free) < size:
            raise RemoteError(path, f"needs {size} bytes, the disk has {free}", "make room, then try again")
        with unfinished.open("xb") as file:
            for piece in pieces:
                file.write(piece)
        unfinished.replace(path)
    except OSError as error:
        raise failed(path, "written", error) from error
    finally:
        unfinished.unlink(missing_ok=True)


def replace_file(path: Path, size: int, pieces: Iterable[memoryview]) -> None:
    """Like `write_file`, where a folder may be in the place as well."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    write_file(path, size, pieces)


def replace_folder(place: Path, paths: Iterable[str], read: Callable[[str], tuple[int, Iterable[memoryview]]]) -> None:
    """Write a folder, several files at a time; `read` gives a file's size and bytes. What was in the place is gone."""
    unfinished = _beside(place)

    def write(path: str) -> None:
        write_file(unfinished / path, *read(path))

    try:
        unfinished.mkdir(parents=True)
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            for _ in pool.map(write, paths):
                pass
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        unfinished.rename(place)
    except OSError as error:
        raise failed(place, "written", error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def failed(path: Path, verb: str, error: OSError) -> RemoteError:
    return RemoteError(path, f"cannot be {verb}: {error.strerror}", "look at the disk and its permissions, try again")


def _beside(path: Path) -> Path:
    return path.with_name(f".{uuid.uuid4().hex}.new")
