"""data show, fetch and add; validate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelpack.cli.options import emit, json_option
from modelpack.errors import InputError, NotFoundError, RefusedError

_SOURCE = click.argument("source", metavar="SOURCE")


@click.group()
def data() -> None:
    """Training data by version: show what a source names, fetch it, add to a DVC remote.

    SOURCE is dvc:FILE.dvc, dvc:dvc.lock#OUTPUT, git:PATH or s3://bucket/prefix; paths start here, and what lies in the
    work tree counts. Remotes are DVC's own (.dvc/config): a folder or S3. Logins come from the environment alone, as
    every AWS client reads it.
    """


@data.command()
@_SOURCE
@json_option
def show(source: str, as_json: bool) -> None:
    """Show which version a source names, and whether it can be fetched.

    \b
    Examples:
      modelpack data show dvc:model-images/mpg/cars.csv.dvc
      modelpack data show s3://datasets/mpg --json
    """
    from modelpack.data import look

    version = look(source, *_here())
    value = {"source": source, "version": version.text, "ready": version.ready, "note": version.note}
    emit(value, f"{version.text}{'' if version.ready else f' (not ready: {version.note})'}", as_json)


@data.command()
@_SOURCE
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--version", default="", metavar="VERSION", help="As `data show` gave it.  [default: the present one]")
@json_option
def fetch(source: str, folder: Path, version: str, as_json: bool) -> None:
    """Bring a version's file or folder into DIR, every byte verified.

    \b
    Examples:
      modelpack data fetch dvc:model-images/mpg/cars.csv.dvc ./data
      modelpack data fetch dvc:cars.csv.dvc ./data --version dvc:9dd4e461268c8034f5c8564e155c67a6
    """
    from modelpack import data as room

    where = _here()
    version = version or room.look(source, *where).text
    path = room.fetch(source, where[0], where[1], version, folder, where[2])
    emit({"source": source, "version": version, "path": str(path)}, f"{version} is in {path}", as_json)


@data.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), metavar="PATH")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.dvc", help="[default: PATH.dvc]")
@json_option
def add(path: Path, out: Path | None, as_json: bool) -> None:
    """Send a file or folder to the DVC remote, and write its .dvc file.

    What `dvc add` and `dvc push` do: the .gitignore beside it leaves the data out. Commit both files, and `dvc pull`
    brings the data back.

    \b
    Examples:
      modelpack data add model-images/mpg/cars.csv
      modelpack data add ./trained --out model-images/mpg/model.dvc
    """
    from modelpack import data as room
    from modelpack.data.pointer import IGNORE, with_ignored

    file = (out or path.with_name(f"{path.name}.dvc")).absolute()
    root = _root(file.parent)
    folder = file.parent.resolve().relative_to(root).as_posix()
    pointer = room.add(path, file.name, "" if folder == "." else folder, room.Checkout(root), root)
    ignore = file.with_name(IGNORE)
    try:
        file.write_bytes(pointer)
        if (root / ".git").exists():
            before = ignore.read_bytes() if ignore.exists() else None
            if (after := with_ignored(before, file.name.removesuffix(".dvc"))) != before:
                ignore.write_bytes(after)
    except OSError as error:
        raise InputError(error.filename or file, f"cannot be written: {error.strerror}") from error
    emit({"path": str(path), "file": str(file), "pointer": pointer.decode()}, f"added {path}: commit {file}", as_json)


def _here() -> tuple[str, Any, Path]:
    """The working folder as `look` and `fetch` take it: the folder in the repository, the repository, where it is."""
    from modelpack.data import Checkout

    here = Path.cwd().resolve()
    root = _root(here)
    folder = here.relative_to(root).as_posix()
    return "" if folder == "." else folder, Checkout(root), root


def _root(folder: Path) -> Path:
    """The work tree that a folder is in, or the folder itself."""
    folder = folder.resolve()
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)


@click.command()
@click.argument("table", type=click.Path(path_type=Path), metavar="TABLE")
@click.option(
    "--checks", type=click.Path(path_type=Path), metavar="FILE", help="A data.yaml; without one, drift alone."
)
@click.option(
    "--previous", type=click.Path(path_type=Path), metavar="TABLE", help="The table before it, to find drift."
)
@click.option("--all", "every", is_flag=True, help="Show the checks that passed as well.")
@json_option
def validate(table: Path, checks: Path | None, previous: Path | None, every: bool, as_json: bool) -> None:
    """Check a table against its schema and the data before it.

    TABLE is a CSV or Parquet file, or a folder of them. Features are checked the same way: hold the transformed table
    against a data.yaml of its own. Exits with 4 if a check fails.

    \b
    data.yaml:
      apiVersion: modelpack.dev/v1
      kind: DataChecks
      rows: {least: 100}
      duplicates: {key: [id]}          # and most: 0.01, their largest share
      columns:
      - {name: mpg, type: number, low: 5, high: 60}
      - {name: origin, type: text, values: [usa, europe, japan]}
      - {name: horsepower, type: number, missing: 0.05}
      - {name: id, type: integer, unique: true, drift: false}
      extra: false                     # whether other columns may be there
      drift: {psi: 0.25, alarms: 0.01, stops: true}

    \b
    Examples:
      modelpack validate cars.csv --checks model-images/mpg/data.yaml
      modelpack validate cars.csv --checks data.yaml --previous last/cars.csv --json
    """
    from modelpack import quality
    from modelpack.data import table as read
    from modelpack.quality import validation

    if checks is None and previous is None:
        raise InputError("--checks", "is missing", "name a data.yaml, or a table with --previous")
    try:
        wanted = checks.read_bytes() if checks else None
    except FileNotFoundError as error:
        raise NotFoundError(checks, "there is no such file") from error
    except OSError as error:
        raise InputError(checks, f"cannot be read: {error.strerror}") from error
    found = quality.validate(read(table), wanted, str(checks), read(previous) if previous else None)
    emit(validation.to_json(found), validation.as_text(found, every), as_json)
    if not found.passed:
        raise RefusedError(table, found.reason)
