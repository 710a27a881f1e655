"""The step compare: the experimental pipeline against the one in production, each trained on the same folds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from modelpack.errors import InputError
from modelpack.oci import digest_of
from modelpack.quality.evaluation import to_json
from modelpack.training.context import Context
from modelpack.training.definition import Train
from modelpack.training.evaluate import Asked, predict
from modelpack.training.folder import TRAINING, Folder, write_json
from modelpack.training.run import Result
from modelpack.training.train import check_model, work

FOLDS = 5
EXPERIMENTAL, PRODUCTION = "experimental", "production"


def compare(context: Context) -> Result:
    """Write `evaluation.json`, of predictions for every row by models that did not see it. Packages nothing.

    Raises InputError where training.yaml has no experiment, and for a pipeline that fails.
    """
    from modelpack import data, quality

    folder, run, training = context.folder, context.run, context.training
    if training.experiment is None:
        remedy = "say under experiment: which notebook or command it is"
        raise InputError(f"{run.folder}/{TRAINING}", "names no experiment", remedy)
    table = data.table(folder.all_data)
    samples = []
    for number, (learn, rest) in enumerate(quality.folds(table, training.data.key, FOLDS), 1):
        context.say(f"fold {number} of {FOLDS}: {len(learn)} rows to learn from, {len(rest)} to predict")
        place = Folder(folder.path / "folds" / str(number))
        asked = place.path / "asked.csv"
        place.path.mkdir(parents=True, exist_ok=True)
        rest.drop(columns=[training.data.target]).to_csv(asked, index=False)
        predictions = []
        for name, how in ((EXPERIMENTAL, training.experiment), (PRODUCTION, training.train)):
            there = Folder(place.path / name)
            there.data.mkdir(parents=True, exist_ok=True)
            learn.to_csv(there.train_data, index=False)
            predictions.append(_learned(context, how, there, f"the {name} model", asked))
        samples.append(quality.Sample(rest, *predictions))
    settings = training.quality
    found = quality.compare(
        samples,
        training.data.target,
        settings.criteria,
        confidence=settings.confidence,
        segments=settings.segments,
        model=run.model,
        version=EXPERIMENTAL,
        against=PRODUCTION,
    )
    digests = {"folds": digest_of(folder.all_data.read_bytes())}
    found = replace(found, data=run.data, code=run.code, run=run.id, ended=context.clock(), digests=digests)
    write_json(folder.evaluation, to_json(found))
    context.say(quality.as_text(found))
    return Result(found.passed, found.reason, evaluation=found)


def _learned(context: Context, how: Train, there: Folder, which: str, asked: Path) -> list[str]:
    """What a pipeline's model says of the rows, once it has learned from its folder's data."""
    there.model.mkdir(parents=True, exist_ok=True)
    work(context, how, there)
    check_model(context, there)
    here = (context.folder.model_folder(context.run), context.training.quality.predict)
    return predict(context, there.path / "answers.csv", which, Asked(there.model, [here]), asked)
