"""`modelpack report`: a rollout's decision, to keep, to sign, or to put into a commit message."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

import click

from modelpack.errors import InputError, NotFoundError, RefusedError, RemoteError
from modelpack.text import blanked
from modelpack.token import TOKEN, bearer

_TIMEOUT = 60.0  # seconds
_LONGEST = 64 * 1024 * 1024  # bytes; the files, all counts and 20,000 predictions
_REFUSALS = {401: RefusedError, 404: NotFoundError}
_KINDS = {"html": "report.html", "json": "report.json", "markdown": "report.json"}


@click.command()
@click.argument("rollout")
@click.option(
    "--gate", "url", required=True, envvar="MODELPACK_GATE", show_envvar=True, metavar="URL", help="The gate."
)
@click.option("--format", "kind", type=click.Choice(list(_KINDS)), help="[default: the file's ending, else markdown]")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it there.")
def report(rollout: str, url: str, kind: str | None, output: Path | None) -> None:
    """Write the report of a rollout: what was asked, counted and decided.

    html is one page that opens without a server, json everything that the decision can be made again from: the frozen
    gate.yaml and files, what each check saw, versions. markdown is short text, for a terminal or a commit message
    (modelpack comment writes into a pull request).

    \b
    Examples:
      modelpack report mpg-1a2b3c4d --gate http://127.0.0.1:8080 -o mpg-v2.html
      modelpack report mpg-1a2b3c4d --gate http://127.0.0.1:8080 >> message.md

    Where the gate asks for a token to read, it is taken from $MODELPACK_GATE_TOKEN.

    Exit codes: 3 no such rollout, 4 the gate refuses the token, 5 it does not answer.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise click.BadParameter(f"{url!r} is not an http address", param_hint="--gate")
    if kind is None:
        endings = {".html": "html", ".htm": "html", ".json": "json"}
        kind = endings.get(output.suffix.lower() if output else "", "markdown")
    address = f"{url.rstrip('/')}/rollouts/{quote(rollout, safe='')}"
    data = _read(url, f"{address}/{_KINDS[kind]}")
    if kind == "markdown":
        from modelpack.gitops import report as reports

        data = reports.readable(reports.parse(data, "the gate's report"), address).encode()
    if output is None:
        sys.stdout.buffer.write(data if data.endswith(b"\n") else data + b"\n")
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise InputError(output, f"cannot be written: {error.strerror}") from error
    click.echo(f"{rollout}: report in {output}", err=True)


def _read(url: str, address: str) -> bytes:
    import requests

    data = bytearray()
    try:
        with requests.get(address, timeout=_TIMEOUT, stream=True, auth=bearer()) as response:
            for part in response.iter_content(1 << 16):
                data += part
                if len(data) > _LONGEST:
                    raise RemoteError(url, f"the report is longer than {_LONGEST} bytes")
            status = response.status_code
    except requests.RequestException as error:
        problem = f"the gate does not answer ({type(error).__name__})"
        raise RemoteError(url, problem, "give its address as --gate") from error
    if status == 200:
        return bytes(data)
    said = blanked(data[:500].decode("utf-8", "replace")).strip() or f"answered {status}"
    remedies = {401: f"put one into ${TOKEN}", 404: f"{url.rstrip('/')}/ lists them"}
    raise _REFUSALS.get(status, RemoteError)("the gate", said, remedies.get(status, ""))
