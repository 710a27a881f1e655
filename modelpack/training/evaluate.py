"""The step evaluate: the candidate against the model that Git names now, on rows that neither is shown the truth of."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelpack.errors import InputError, ModelpackError, RemoteError
from modelpack.gitops import open_repository
from modelpack.oci import digest_of
from modelpack.quality.evaluation import Evaluation, to_json
from modelpack.training import child, current
from modelpack.training.context import Context
from modelpack.training.definition import parse
from modelpack.training.folder import TRAINING, write_json
from modelpack.training.run import Result

if TYPE_CHECKING:
    from modelpack.quality import Sample

HELD_OUT, BENCHMARK = "held-out", "benchmark"  # as the evaluation's rows call them


def evaluate(context: Context) -> Result | None:
    """Write `evaluation.json`; a Result where the candidate did not pass.

    Raises InputError where a model cannot be asked, and RemoteError where the current one cannot be had just now.
    """
    from modelpack import quality

    folder, run, training = context.folder, context.run, context.training
    settings = training.quality
    old, against = _current(context)
    files = {HELD_OUT: folder.heldout}
    if settings.benchmark:
        files[BENCHMARK] = folder.model_folder(run) / settings.benchmark
    samples: dict[str, Sample] = {
        name: _sample(context, name, path, training.data.target, old) for name, path in files.items()
    }
    found = quality.evaluate(
        samples[HELD_OUT],
        training.data.target,
        settings.criteria,
        benchmark=samples.get(BENCHMARK),
        confidence=settings.confidence,
        segments=settings.segments,
        model=run.model,
        version=run.version,
        against=against,
    )
    digests = {name: digest_of(path.read_bytes()) for name, path in files.items()}
    found = replace(found, data=run.data, code=run.code, run=run.id, ended=context.clock(), digests=digests)
    write_json(folder.evaluation, to_json(found))
    context.say(quality.as_text(found))
    return None if found.passed else Result(False, found.reason, evaluation=found)


def metrics_of(evaluation: Evaluation) -> dict[str, float]:
    """The candidate's own numbers on all held-out rows, by metric."""
    rows = [each for each in evaluation.rows if each.data == HELD_OUT and not each.group]
    return {each.metric: each.new for each in rows if each.new is not None}


@dataclass(frozen=True)
class Asked:
    """A model that can be asked: its files, and the folders and commands by which it can, the best first."""

    model: Path
    places: Sequence[tuple[Path, tuple[str, ...]]]


def _current(context: Context) -> tuple[Asked | None, str]:
    """The model that Git names now, and its version; None and "" where there is none."""
    folder, run = context.folder, context.run
    with open_repository(context.repository, run.branch) as repository:
        found = current.look(repository, run.model, context.via, context.say)
        if found is None:
            return None, ""
        context.say(f"held against {found.version}")
        model = current.pull(found, folder.current, context.via)
        here = (folder.model_folder(run), context.training.quality.predict)
        places = [here]
        if found.commit and found.commit != run.commit:
            try:  # a model is asked by the code that it was made with, as where it serves
                root = folder.current / "source"
                shutil.rmtree(root, ignore_errors=True)
                repository.at_commit(found.commit).export(root)
                own = parse((root / run.folder / TRAINING).read_bytes(), TRAINING)
                places.insert(0, (root / run.folder, own.quality.predict))
            except RemoteError:
                raise
            except (ModelpackError, OSError) as error:
                context.say(f"its own code cannot be had, it is asked by the candidate's: {error}")
        return Asked(model, places), found.version


def _sample(context: Context, name: str, path: Path, target: str, old: Asked | None) -> Any:
    from modelpack import data, quality

    if not path.is_file():
        raise InputError(path.name, "there is no such file", "commit it, or correct quality.benchmark")
    table = data.table(path)
    if target not in table.columns:
        raise InputError(path.name, f"has no column {target!r}", "it is what predictions are held against")
    asked = context.folder.data / f"{name}-asked.csv"
    table.drop(columns=[target]).to_csv(asked, index=False)
    run = context.run
    place = (context.folder.model_folder(run), context.training.quality.predict)
    candidate, data_folder = Asked(context.folder.model, [place]), context.folder.data
    new = predict(context, data_folder / f"{name}-new.csv", "the candidate", candidate, asked)
    before = predict(context, data_folder / f"{name}-old.csv", "the current model", old, asked) if old else None
    return quality.Sample(table, new, before)


def predict(context: Context, out: Path, which: str, asked: Asked, rows: Path) -> list[str]:
    """The predictions for the rows, by the first code that manages; `out` is where it writes them, `which` says whose
    they are. Raises InputError where none does."""
    from modelpack import quality

    problem = ""
    for folder, words in asked.places:
        out.unlink(missing_ok=True)
        command = (*words, str(asked.model), str(rows), str(out))
        code = child.run(command, cwd=folder, env=child.environment(context.folder.home, {}))
        if code == 0 and out.is_file():
            return list(quality.predictions(out))
        problem = child.how(code) if code else "ended well, but wrote no predictions"
    raise InputError(" ".join(asked.places[-1][1]), f"could not ask {which}: it {problem}")
