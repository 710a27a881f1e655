"""Options and output that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from modelpack.errors import RemoteError
from modelpack.reference import Reference

F = TypeVar("F", bound=Callable[..., Any])


class ReferenceType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """An image reference on the command line."""

    name = "ref"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        return value if isinstance(value, Reference) else Reference.parse(str(value))


REFERENCE = ReferenceType()

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
repo_option: Callable[[F], F] = click.option(
    "--repo", default=".", metavar="PATH|URL", help="The repository: a work tree, a bare one, or a URL.  [default: .]"
)
branch_option: Callable[[F], F] = click.option(
    "--branch", default="main", show_default=True, help="Its branch; what is committed there counts."
)
via_option: Callable[[F], F] = click.option(
    "--via",
    "via",
    multiple=True,
    metavar="PREFIX=oci:DIR",
    help="Serve references that start with PREFIX from image layouts below DIR (also $MODELPACK_VIA).",
)


def emit(value: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a result: the JSON object for programs, the text for people."""
    try:
        click.echo(json.dumps(value) if as_json else text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RemoteError("standard output", f"cannot be written: {error.strerror}") from error


def human(size: float) -> str:
    """Bytes for people: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


@contextmanager
def progress(verb: str) -> Iterator[Callable[[int], None]]:
    """A live line with bytes and rate on stderr, only where that is a terminal; yields what to tell the bytes to."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = (SpinnerColumn(), TextColumn(verb), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=None)
        yield lambda count: bar.advance(task, count)
