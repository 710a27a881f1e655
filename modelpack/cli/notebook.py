"""notebook run, compile: a notebook as a step, and as a pipeline."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelpack.cli.options import emit, json_option, pair_of, parameter_option
from modelpack.errors import InputError

if TYPE_CHECKING:
    from modelpack.resources import Resources

_TIMEOUT = 3600.0  # seconds


@click.group()
def notebook() -> None:
    """Run a notebook with parameters, and keep it as HTML."""


@notebook.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="NOTEBOOK")
@parameter_option
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The executed notebook.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="A page of it, readable offline.")
@click.option("--to", "target", default="", metavar="s3://…|FOLDER", help="Put both there, by the names they have.")
@click.option("--cwd", type=click.Path(path_type=Path), metavar="FOLDER", help="Where it runs.  [default: its folder]")
@click.option("--timeout", type=float, default=_TIMEOUT, show_default=True, metavar="SECONDS", help="For all of it.")
@json_option
def run(
    path: Path,
    pairs: tuple[str, ...],
    out: Path | None,
    html: Path | None,
    target: str,
    cwd: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Run a notebook with parameters, and keep it as HTML.

    NOTEBOOK's cell with the tag `parameters` (or `pipeline-parameters`) names what -p may set. By default the results
    are NAME.out.ipynb and NAME.out.html beside it. Both are kept when a cell fails: one sentence says its number,
    counted from 1 with the cells of text, its line and the error. The kernel is the ipykernel that is installed with
    modelpack, whatever the notebook names.

    \b
    Examples:
      modelpack notebook run train.ipynb -p epochs=20 -p data=data/train.csv
      modelpack notebook run train.ipynb --out run.ipynb --html run.html --to s3://models/notebooks/mpg

    Exit codes: 2 a cell failed, or it took too long, 3 no such notebook, 5 the kernel died, 130 interrupted.
    """
    from modelpack.notebook import execute, names

    out = out or path.with_suffix(".out.ipynb")
    html = html or path.with_suffix(".out.html")
    if out.resolve() == path.resolve():
        raise InputError(out, "is the notebook itself", "give another name by --out")
    known = names(path)
    given = {key: _value(text, known.get(key)) for key, text in map(pair_of, pairs)}
    try:
        execute(
            path,
            given,
            out=out,
            html=html,
            cwd=cwd or path.resolve().parent,
            timeout=timeout,
            env=os.environ,
            progress=sys.stderr.isatty(),
        )
    finally:
        put = _put(target, out, html)
    text = "\n".join(put or [str(out), str(html)])
    emit({"notebook": str(out), "html": str(html), "put": put, "parameters": given}, text, as_json)


@click.command("compile")
@click.argument("path", type=click.Path(path_type=Path), metavar="NOTEBOOK")
@click.option("--to", "kind", type=click.Choice(["job", "tekton", "kfp"]), required=True, help="For what.")
@click.option("--image", required=True, metavar="IMG", help="Has python3 and what the notebook imports.")
@click.option("-o", "--output", default="-", metavar="FILE", help="Where the YAML goes.  [default: standard output]")
@parameter_option
@click.option("--namespace", default="", metavar="NAME", help="Of the objects (job, tekton).")
@click.option("--secret", default="", metavar="NAME", help="A Secret whose keys become variables (job, tekton).")
@click.option("--storage", default="1Gi", show_default=True, metavar="SIZE", help="Of the tasks' volume (tekton).")
@click.option("--timeout", type=click.IntRange(1), default=int(_TIMEOUT), show_default=True, metavar="SECONDS")
@click.option(
    "--resources",
    "resources",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A YAML file with resources, nodeSelector and tolerations, as under runs in training.yaml (job, tekton).",
)
def compile_(
    path: Path,
    kind: str,
    image: str,
    output: str,
    pairs: tuple[str, ...],
    namespace: str,
    secret: str,
    storage: str,
    timeout: int,
    resources: Path | None,
) -> None:
    """Make a pipeline from a tagged notebook.

    \b
    The tags of NOTEBOOK's cells, as Kale has them:
      imports, functions     stand before every block
      pipeline-parameters    its settings: name = text, number, True or False
      block:NAME             a step; cells of one name are one step (step:NAME is the same)
      prev:NAME              the step before it
      skip                   not in the pipeline
      pipeline-metrics       names the variables that are results: numbers
      no tag                 belongs to the cell before

    What one block uses of another is found in the code, and passed by files. Nothing of the notebook is run here. The
    same notebook and options give the same bytes.

    \b
    Examples:
      modelpack compile train.ipynb --to job --image registry.example.com/train:1 | kubectl apply -f -
      modelpack compile train.ipynb --to tekton --image registry.example.com/train:1 -p epochs=20 -o run.yaml
      modelpack compile train.ipynb --to kfp --image registry.example.com/train:1 -o pipeline.yaml

    Exit codes: 2 a tag or a line that no pipeline can have, with the cell's number, 3 no such notebook.
    """
    from modelpack import notebook as room
    from modelpack.notebook.document import load_bytes

    pipeline = room.parse(load_bytes(path), path.name)
    defaults = {each.name: each.default for each in pipeline.parameters}
    given = {key: _value(text, defaults.get(key)) for key, text in map(pair_of, pairs)}
    if resources and kind == "kfp":
        raise InputError("--resources", "are for job and tekton", "set those of Kubeflow's tasks in its own pipeline")
    place = room.Place(image, namespace, secret, timeout, storage, given, _asked(resources))
    make = {"job": room.to_job, "tekton": room.to_tekton, "kfp": room.to_kfp}[kind]
    made = make(pipeline, place)
    if output == "-":
        click.echo(made, nl=False)
        return
    try:
        Path(output).write_bytes(made)
    except OSError as error:
        raise InputError(output, f"cannot be written: {error.strerror}") from error


def _asked(file: Path | None) -> Resources:
    from modelpack import resources
    from modelpack.fields import read

    if file is None:
        return resources.NONE
    try:
        fields = read(file.read_bytes(), str(file))
    except OSError as error:
        raise InputError(file, f"cannot be read: {error.strerror}") from error
    found = resources.parse(fields)
    fields.done()
    return found


def _put(target: str, *paths: Path) -> list[str]:
    """Where the files lie now, [] if they are to stay where they are."""
    if not target:
        return []
    from modelpack import data

    return [data.put(target, each) for each in paths if each.is_file()]


def _value(text: str, default: Any) -> Any:
    """A parameter's value: a text where the default is one, else what Python's literals would be."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool) or text.lower() in ("true", "false"):
        if text.lower() not in ("true", "false"):
            raise InputError(text, "is neither true nor false")
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if isinstance(default, int | float):
        raise InputError(text, "is no number")
    return text
