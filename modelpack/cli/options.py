"""Options and output that several commands share."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from modelpack.errors import InputError, RemoteError
from modelpack.reference import Reference

F = TypeVar("F", bound=Callable[..., Any])


class ReferenceType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """An image reference on the command line."""

    name = "ref"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Reference:
        if isinstance(value, Reference):
            return value
        if "/" not in str(value):  # Docker Hub's own images are no models
            remedy = "write registry/repository:tag, like registry.example.com/models/mpg:v2"
            raise InputError(str(value) or '""', "is not a model's image", remedy)
        return Reference.parse(str(value))


REFERENCE = ReferenceType()

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
repo_option: Callable[[F], F] = click.option(
    "--repo", default=".", metavar="PATH|URL", help="The repository: a work tree, a bare one, or a URL.  [default: .]"
)
branch_option: Callable[[F], F] = click.option(
    "--branch", default="main", show_default=True, help="Its branch; what is committed there counts."
)
dry_run_option: Callable[[F], F] = click.option("--dry-run", is_flag=True, help="Show the change, make none.")
environment_option: Callable[[F], F] = click.option(
    "--env", "environment", default="", metavar="NAME", help="The environment of model.yaml.  [default: its first]"
)
again_option: Callable[[F], F] = click.option(
    "--again", is_flag=True, help="Propose what a person closed a pull request for."
)
via_option: Callable[[F], F] = click.option(
    "--via",
    "via",
    multiple=True,
    metavar="PREFIX=oci:DIR",
    help="Serve references that start with PREFIX from image layouts below DIR (also $MODELPACK_VIA).",
)
parameter_option: Callable[[F], F] = click.option(
    "-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated."
)


def pair_of(word: str) -> tuple[str, str]:
    """NAME=VALUE as the two; raises InputError for another word."""
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier():
        raise InputError("--parameter", f"{word!r} is not NAME=VALUE", "write it like alpha=0.3")
    return name, text


def pull_options(command: F) -> F:
    """Of a command that may open a pull request: `again`, `dry_run`, `via` and `as_json`."""
    return again_option(dry_run_option(via_option(json_option(command))))


def emit(value: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a result: the JSON object for programs, the text for people."""
    try:
        click.echo(json.dumps(value) if as_json else text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RemoteError("standard output", f"cannot be written: {error.strerror}") from error


def table(rows: Iterable[Sequence[str]], *, title: Sequence[str] = ()) -> str:
    """Columns side by side; those that are empty in every row are left out. What comes from others is made harmless."""
    from modelpack.gitops.commit import one_line

    cells = [[one_line(cell) for cell in row] for row in rows]
    kept = [number for number, column in enumerate(zip(*cells, strict=True)) if any(column)]
    if title and cells:
        cells.insert(0, [*title])
    widths = [max(len(row[number]) for row in cells) for number in kept]
    lines = [[row[number].ljust(width) for number, width in zip(kept, widths, strict=True)] for row in cells]
    return "\n".join("  ".join(line).rstrip() for line in lines)


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


def style_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How the commit is written and what it rests on: gives the command a `style` and a `report`.

    Raises InputError for a file that cannot be read.
    """

    @click.option("--author", default="", metavar="'NAME <ADDRESS>'", help="Whose commit it is.")
    @click.option("--signoff", is_flag=True, help="Add Signed-off-by.")
    @click.option("--sign", is_flag=True, help="Sign it, as git is configured to.")
    @click.option(
        "--message", type=click.Path(path_type=Path), metavar="FILE", help="A jinja2 template of its message."
    )
    @click.option(
        "--report",
        "reports",
        multiple=True,
        metavar="URL|FILE",
        help="What judged the version: an address to link, a report.json whose checks are shown; or both.",
    )
    @functools.wraps(command)
    def styled(
        *, author: str, signoff: bool, sign: bool, message: Path | None, reports: tuple[str, ...], **rest: Any
    ) -> Any:
        from modelpack.gitops.commit import Style

        report = _report(reports)
        template = _read(message).decode(errors="replace") if message else ""
        return command(style=Style(author, signoff, sign, template, report.link), report=report, **rest)

    return styled


def _report(given: tuple[str, ...]) -> Any:
    from modelpack.gitops.proposal import Report, link_to
    from modelpack.gitops.report import parse

    files = [each for each in given if "://" not in each]
    links = [each for each in given if each not in files]
    if len(files) > 1 or len(links) > 1:
        raise InputError("--report", "is given more than once", "give one address, one file, or one of each")
    value = parse(_read(Path(files[0])), files[0]) if files else None
    return Report(value, link_to(links[0]) if links else "")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from error
