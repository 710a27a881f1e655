"""Rows and columns from files: CSV and Parquet, one file or a folder of them that agree about their columns.

A column is numbers, truth values, times or texts, one in each place, whatever the file's own types are.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelpack.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from pandas import DataFrame

KINDS = (".csv", ".parquet")
_MOST = 500_000_000  # numbers of a Parquet file: 4 GB
_ROW_NUMBERS = re.compile(r"__index_level_\d+__")


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
    parts = [_read(each, path) for each in files]
    for file, part in zip(files, parts, strict=True):
        if list(part.columns) != list(parts[0].columns):
            differ = ", ".join(sorted(set(part.columns) ^ set(parts[0].columns))) or "in another order"
            raise InputError(file, f"has other columns than {files[0].name}: {differ}")
    return parts[0] if len(parts) == 1 else pandas.concat(parts, ignore_index=True)


def _files(folder: Path) -> list[Path]:
    found = (each for each in folder.rglob("*") if not each.is_symlink() and each.is_file())
    hidden = (each for each in found if not any(part.startswith(".") for part in each.relative_to(folder).parts))
    return [each for each in hidden if each.suffix.lower() in KINDS]


def _read(file: Path, root: Path) -> DataFrame:
    import pandas

    try:
        if file.suffix.lower() == ".parquet":
            _check_partition(file, root)
            return _parquet(file)
        _check_header(file)
        return pandas.read_csv(file, low_memory=False)
    except ImportError as error:
        remedy = "run pip install 'modelpack-delivery[parquet]'"
        raise InputError(file, "is Parquet, and reading it needs pyarrow", remedy) from error
    except OSError as error:
        raise InputError(file, f"cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise InputError(file, "has more rows than memory takes") from error
    except (ValueError, csv.Error) as error:  # pandas' parser errors are ValueErrors that name the line
        raise InputError(file, f"is no table: {error}") from error


def _parquet(file: Path) -> DataFrame:
    """A Parquet file's rows with the types that the same rows in CSV would have. Row numbers that pandas kept are left
    out; raises InputError for columns of lists and the like, ValueError or OSError for what is no Parquet."""
    import pandas
    from pyarrow import ArrowException, parquet, types

    try:
        with file.open("rb") as data:  # a path would be searched for columns of its own, in folders called name=value
            source = parquet.ParquetFile(data)
            schema, rows = source.schema_arrow, source.metadata.num_rows
            _check_names(schema.names, file)
            for field in schema:
                kind = field.type.value_type if types.is_dictionary(field.type) else field.type
                if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
                    problem = f"column {field.name!r} is of {kind}: a table has one number or text in each place"
                    raise InputError(file, problem, "write it as columns of its own, or leave it out")
            if rows * len(schema) > _MOST:  # a file of a few bytes may say so
                raise InputError(file, f"has {rows} rows of {len(schema)} columns, more than memory takes")
            found = source.read().to_pandas(ignore_metadata=True)
    except ArrowException as error:
        raise ValueError(str(error)) from error
    for field in schema:
        if types.is_decimal(field.type):
            found[field.name] = pandas.to_numeric(found[field.name]).astype(float)
        elif types.is_dictionary(field.type):
            found[field.name] = found[field.name].astype(found[field.name].cat.categories.dtype)
    return found.drop(columns=[each for each in schema.names if _ROW_NUMBERS.fullmatch(each)])


def _check_partition(file: Path, root: Path) -> None:
    """Refuse a column that stands in folders' names alone: it would be missing, and nobody would be told."""
    for part in file.parent.relative_to(root).parts if root.is_dir() else ():
        if "=" in part:
            problem = f"lies in a folder that is called {part}, which is not read as a column"
            raise InputError(file, problem, "write the column into the files")


def _check_header(file: Path) -> None:
    """Refuse what pandas would take by renaming."""
    with file.open(newline="", encoding="utf-8-sig") as text:
        header = next(csv.reader(text), [])
    if not header:
        raise InputError(f"{file}:1", "is empty, a header is needed")
    _check_names(header, f"{file}:1")


def _check_names(names: Sequence[str], where: object) -> None:
    twice = sorted(each for each, count in Counter(names).items() if count > 1)
    if "" in names:
        raise InputError(where, "has a column without a name")
    if twice:
        raise InputError(where, f"has the column {twice[0]!r} twice")
