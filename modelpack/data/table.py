"""Rows and columns from files: CSV and Parquet, one file or a folder of them that agree about their columns."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from modelpack.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from pandas import DataFrame

KINDS = (".csv", ".parquet")


def table(path: Path) -> DataFrame:
    """A file's rows, or those of every file below a folder, in the order of their paths; other kinds are left out.

    Texts are pandas' own type: `str` since pandas 3, `object` before. Raises InputError naming file and line.
    """
    import pandas

    if not path.exists():
        raise NotFoundError(path, "there is no such file or folder")
    files = sorted(_files(path)) if path.is_dir() else [path]
    if not files:
        raise InputError(path, f"holds no table: none of its files ends in {' or '.join(KINDS)}")
    parts = [_read(each) for each in files]
    for file, part in zip(files, parts, strict=True):
        if list(part.columns) != list(parts[0].columns):
            differ = ", ".join(sorted(set(part.columns) ^ set(parts[0].columns))) or "in another order"
            raise InputError(file, f"has other columns than {files[0].name}: {differ}")
    return parts[0] if len(parts) == 1 else pandas.concat(parts, ignore_index=True)


def _files(folder: Path) -> list[Path]:
    found = (each for each in folder.rglob("*") if not each.is_symlink() and each.is_file())
    hidden = (each for each in found if not any(part.startswith(".") for part in each.relative_to(folder).parts))
    return [each for each in hidden if each.suffix.lower() in KINDS]


def _read(file: Path) -> DataFrame:
    import pandas

    try:
        if file.suffix.lower() == ".parquet":
            return pandas.read_parquet(file)
        _check_header(file)
        return pandas.read_csv(file, low_memory=False)
    except ImportError as error:
        raise InputError(file, "reading Parquet needs pyarrow", "pip install pyarrow") from error
    except OSError as error:
        raise InputError(file, f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise InputError(file, "has more rows than memory takes") from error
    except (ValueError, csv.Error) as error:  # pandas' parser errors are ValueErrors that name the line
        raise InputError(file, f"is no table: {error}") from error


def _check_header(file: Path) -> None:
    """Refuse what pandas would take by renaming."""
    with file.open(newline="", encoding="utf-8-sig") as text:
        header = next(csv.reader(text), [])
    twice = sorted({each for each in header if header.count(each) > 1})
    if not header or "" in header:
        raise InputError(f"{file}:1", "has a column without a name" if header else "is empty, a header is needed")
    if twice:
        raise InputError(f"{file}:1", f"has the column {twice[0]!r} twice")
