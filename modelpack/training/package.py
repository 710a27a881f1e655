"""The step package: a candidate that passed becomes a model container with its records; of another only those are kept.

Every part of it may be repeated: the same bytes are the same layers, and records are known by their content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from modelpack import provenance, publish
from modelpack.definition import Definition
from modelpack.errors import InputError, NotFoundError
from modelpack.fetch import resolve
from modelpack.quality.evaluation import Evaluation, from_json
from modelpack.reference import Reference
from modelpack.store import Store
from modelpack.training.context import Context
from modelpack.training.evaluate import metrics_of
from modelpack.training.folder import read_json
from modelpack.training.run import Result
from modelpack.training.train import RUN_PLACEHOLDER

if TYPE_CHECKING:
    from modelpack.lineage import Origin

_NO_MODE = 0o644  # S3 keeps no executable bits: the image is the one that a build from there gives


def package(context: Context) -> Result:
    """Push, and attach the records; of what did not pass record the evaluation. Gives the run's Result."""
    from modelpack import lineage

    folder, run = context.folder, context.run
    definition = folder.definition(run)
    evaluation = _evaluation(context)
    where = notebook_of(context)
    reference = definition.image.at(tag=run.version)
    if not evaluation.passed:
        record = Reference.parse(lineage.put_evaluation(reference, evaluation, context.via))
        lineage.put_provenance(record, _origin(context, evaluation, where, ""), context.via)
        context.say(f"{run.version} did not pass; its evaluation is recorded in {definition.image}")
        return Result(False, evaluation.reason, "", evaluation, where)
    dvc = _dvc(context)
    definition = _placed(context, definition)
    image = _image(context, definition, evaluation)
    lineage.put_provenance(image, _origin(context, evaluation, where, dvc), context.via)
    lineage.put_evaluation(image, evaluation, context.via)  # last: with it the version has passed, and may be deployed
    context.say(f"{image} is packaged, with its evaluation and provenance")
    return Result(True, evaluation.reason, str(image), evaluation, where)


def notebook_of(context: Context) -> str:
    """Where the run's HTML was put, "" if nowhere."""
    location, folder = context.training.output.notebooks, context.folder
    if not location or not folder.html.exists():
        return ""
    return f"{location.replace(RUN_PLACEHOLDER, context.run.id).rstrip('/')}/{folder.html.name}"


def _evaluation(context: Context) -> Evaluation:
    try:
        return from_json(read_json(context.folder.evaluation))
    except (OSError, KeyError, TypeError, ValueError) as error:
        problem = "there is no evaluation that can be read"
        raise InputError(context.folder.evaluation, problem, "run the step evaluate first") from error


def _placed(context: Context, definition: Definition) -> Definition:
    """The model where its image is built from: in the run's folder. Where model.yaml's source is S3 it is put there
    first, so that anybody can build the same image again."""
    from modelpack import data

    folder = context.folder
    location = definition.source_of(context.run.version)
    if location.startswith("s3://"):
        for each in folder.model.rglob("*"):
            if each.is_file() and not each.is_symlink():
                each.chmod(_NO_MODE)
        data.put(location, folder.model)
        context.say(f"the model is in {location}")
    return replace(definition, source=str(folder.model.resolve()), folder=None)


def _image(context: Context, definition: Definition, evaluation: Evaluation) -> Reference:
    """Push, if the version is not there already. Raises InputError where it is, as another model."""
    run = context.run
    reference = definition.image.at(tag=run.version)
    notes = provenance.to_annotations(_metrics(context, evaluation), _lineage(context))
    store = Store(context.folder.path / "store")

    def build(push: bool) -> publish.Built:
        return publish.build(
            definition,
            run.version,
            reference=reference,
            base=definition.base,
            via=context.via,
            store=store,
            push=push,
            annotations=notes,
        )

    try:
        there = resolve(reference, context.via)
    except NotFoundError:
        return build(push=True).reference
    built = build(push=False)
    if there.model_digest != built.model_digest:
        problem = "is another model's already: somebody made this version at the same time"
        raise InputError(reference, problem, "train again, the next version is taken then")
    if there.reference.digest == built.reference.digest:
        return publish.push(reference, via=context.via, store=store).reference
    return there.reference  # the same model from another attempt: it stays as it was pushed


def _metrics(context: Context, evaluation: Evaluation) -> dict[str, float]:
    """What training said of itself, under what the evaluation found."""
    path = context.folder.metrics
    told = provenance.read_metrics(path) if path.exists() else {}
    found = metrics_of(evaluation)
    room = provenance.MOST_METRICS - len(found)
    return {**dict([each for each in told.items() if each[0] not in found][:room]), **found}


def _lineage(context: Context) -> Mapping[str, str]:
    run = context.run
    told = {"data": run.data, "code": run.code, "commit": run.commit, "run": run.id}
    if where := notebook_of(context):
        told["notebook"] = where
    return {key: value for key, value in told.items() if value}


def _dvc(context: Context) -> str:
    """Add the model with DVC; the text of its .dvc file, "" where training.yaml wants none."""
    from modelpack import data

    out = context.training.output.dvc
    if not out:
        return ""
    folder = context.folder
    tree = data.Checkout(folder.source)
    text = data.add(folder.model, out, context.run.folder, tree, context.root)
    context.say(f"the model is added as {out}")
    return text.decode()


def _origin(context: Context, evaluation: Evaluation, where: str, dvc: str) -> Origin:
    """The run as its provenance tells it. Nothing in it depends on when it is written: repeated, it is the same."""
    from modelpack.lineage import Origin

    run, training = context.run, context.training
    trained = training.train
    return Origin(
        run=run.id,
        repository=run.repository,
        branch=run.branch,
        commit=run.commit,
        folder=run.folder,
        data=run.data,
        data_uri=training.data.source,
        code=run.code,
        reason=run.reason,
        parameters={**trained.parameters, **run.parameters},
        notebook=trained.notebook,
        html=where,
        metrics=_metrics(context, evaluation),
        started=context.folder.began() or run.created,
        ended=evaluation.ended,
        builder=training.runs.backend,
        dvc=dvc,
    )
