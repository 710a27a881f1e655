"""evaluate: the quality gate by hand, or from any pipeline."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelpack.cli.options import emit, json_option
from modelpack.errors import InputError, RefusedError

if TYPE_CHECKING:
    from modelpack.quality import Sample

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--truth", required=True, type=_FILE, metavar="T.csv", help="The held-out rows, with the target.")
@click.option("--new", required=True, type=_FILE, metavar="P.csv", help="The candidate's predictions of them.")
@click.option("--old", type=_FILE, metavar="P.csv", help="The current model's.  [default: there is none]")
@click.option("--target", default="", metavar="COLUMN", help="What was to be predicted.  [default: training.yaml's]")
@click.option("--training", required=True, type=_FILE, metavar="training.yaml", help="Metrics, margins, limits.")
@click.option(
    "--benchmark",
    type=(_FILE, _FILE),
    default=None,
    metavar="B.csv P.csv",
    help="The benchmark's rows, and the candidate's predictions of them.",
)
@click.option("--benchmark-old", type=_FILE, metavar="P.csv", help="The current model's predictions of the benchmark.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table as Markdown.")
@json_option
def evaluate(
    truth: Path,
    new: Path,
    old: Path | None,
    target: str,
    training: Path,
    benchmark: tuple[Path, Path] | None,
    benchmark_old: Path | None,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Hold a candidate's predictions against the current model's, on the same held-out rows.

    A predictions file has a column `prediction`, and as many rows as the truth, in the same order. The candidate passes
    if every metric of training.yaml is shown to be at most its margin worse, keeps its limit there and on the
    benchmark, and no segment is shown to be worse.

    \b
    Examples:
      modelpack evaluate --truth heldout.csv --new new.csv --old old.csv --training model-images/mpg/training.yaml
      modelpack evaluate --truth T.csv --target mpg --new P.csv --training training.yaml --benchmark B.csv BP.csv --json

    Exit codes: 0 passed, 4 not passed.
    """
    from modelpack import quality
    from modelpack.gitops.evaluation import markdown
    from modelpack.quality.evaluation import to_json
    from modelpack.training import definition

    asked = definition.parse(_bytes(training), str(training))
    if benchmark_old and not benchmark:
        raise InputError("--benchmark-old", "is given without --benchmark")
    found = quality.evaluate(
        _sample(truth, new, old),
        target or asked.data.target,
        asked.quality.criteria,
        benchmark=_sample(*benchmark, benchmark_old) if benchmark else None,
        confidence=asked.quality.confidence,
        segments=asked.quality.segments,
        model=asked.name,
        version=new.stem,
        against=old.stem if old else "",
    )
    found = replace(found, ended=time.time())
    emit(to_json(found), markdown(found) if as_markdown else quality.as_text(found), as_json)
    if not found.passed:
        raise RefusedError(asked.name, "the candidate did not pass", "the table says why")


def _sample(truth: Path, new: Path, old: Path | None) -> Sample:
    from modelpack import quality
    from modelpack.data import table

    return quality.Sample(table(truth), quality.predictions(new), quality.predictions(old) if old else None)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from error
