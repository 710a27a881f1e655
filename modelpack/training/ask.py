"""A run that somebody asks for: what the branch's tip says of the model, made into a `Run`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from modelpack.errors import InputError, NotFoundError
from modelpack.gitops import Draft, Model, Repository, by_name, rejected, targets_of, version_of
from modelpack.gitops.program import without_login
from modelpack.lineage.records import EVALUATION_SUFFIX
from modelpack.reference import Reference
from modelpack.registry import Via
from modelpack.registry import open_repository as open_images
from modelpack.training.compare import EXPERIMENTAL
from modelpack.training.definition import Training, Value, parse
from modelpack.training.folder import TRAINING
from modelpack.training.identity import code_version, next_version, run_id
from modelpack.training.run import Run


@dataclass(frozen=True)
class Asked:
    """A run, and the training.yaml that it is about, parsed and as it stands."""

    run: Run
    training: Training
    text: bytes


def read(repository: Repository, model: Model) -> tuple[Training, bytes]:
    """A model's training.yaml at the tip; raises NotFoundError where it has none, InputError with file and line."""
    path = f"{model.folder}/{TRAINING}"
    data = repository.read(path)
    if data is None:
        raise NotFoundError(path, f"is not on {repository.branch}", "write one: it says what the model learns from")
    training = parse(data, path)
    if training.name != model.name:
        raise InputError(path, f"is called {training.name!r}, its model.yaml {model.name!r}", "call both the same")
    return training, data


def ask(
    repository: Repository,
    location: str,
    name: str,
    via: Via,
    *,
    parameters: Mapping[str, Value],
    known: Iterable[Run],
    reason: str,
    now: float,
    kind: str = "train",
    over: Collection[str] = (),
) -> Asked:
    """The run that trains a model from the branch's tip. `known` are other runs, whose versions are taken, but for
    those whose ids are in `over`: they ended and made nothing.

    Raises InputError for a parameter that the notebook does not take, and what reading the tip raises.
    """
    from modelpack import data

    model = by_name(repository, name)
    training, text = read(repository, model)
    root = Path(location).resolve() if Path(location).is_dir() else None
    version = data.look(training.data.source, model.folder, repository, root)
    if not version.ready:
        raise NotFoundError(training.data.source, version.note, "push the data, then train")
    tried = training if kind == "train" else experimental(training, f"{model.folder}/{TRAINING}")
    code = code_version(tried, model.folder, repository)
    _check_parameters(tried, {**tried.train.parameters, **parameters}, model, repository)
    image = model.definition.image
    runs = [each for each in known if each.model == name]
    to_make = EXPERIMENTAL
    if kind == "train":
        versions, tags = _there(image, via)
        versions |= {*_named(repository, model), *(each.label for each in rejected(repository, model))}
        to_make = next_version(versions | {each.version for each in runs if each.id not in over}, tags)
    words = (image.name, name, to_make, version.text, code, f"{kind} {sorted(parameters.items())}")
    ids = {each.id for each in runs}
    attempt = next(each for each in range(1, len(ids) + 2) if run_id(*words, each) not in ids)
    run = Run(
        id=run_id(*words, attempt),
        model=name,
        version=to_make,
        repository=without_login(str(root) if root else location),
        branch=repository.branch,
        commit=repository.tip,
        folder=model.folder,
        data=version.text,
        code=code,
        reason=reason,
        created=now,
        attempt=attempt,
        kind=kind,
        parameters=parameters,
    )
    return Asked(run, training, text)


def experimental(training: Training, where: str) -> Training:
    """The same with its experiment in the place of what trains; raises InputError where it has none."""
    if training.experiment is None:
        raise InputError(where, "names no experiment", "say under experiment: which notebook or command it is")
    return replace(training, train=training.experiment)


def _check_parameters(training: Training, given: Iterable[str], model: Model, repository: Repository) -> None:
    """Refuse now what the notebook would refuse in the run. A command is told any parameters, and knows its own."""
    from modelpack.notebook import document

    if not training.train.notebook:
        return
    path = f"{model.folder}/{training.train.notebook}"
    if data := repository.read(path):
        document.check_parameters(document.read(data, path), given)


def _there(image: Reference, via: Via) -> tuple[set[str], frozenset[str]]:
    """The versions that its repository holds, those included of which it only has an evaluation; and all its tags: what
    is called like a version and is no model container counts nothing up, but its name is taken."""
    from modelpack import lineage

    try:
        tags = open_images(image, via).tags()
        names = frozenset((*tags, *(each.removesuffix(EVALUATION_SUFFIX) for each in tags)))
        return {each.version for each in lineage.catalog(image, via, brief=True).versions}, names
    except NotFoundError:  # nothing was ever pushed there
        return set(), frozenset()


def _named(repository: Repository, model: Model) -> list[str]:
    """The versions that Git names in the model's first environment."""
    try:
        draft = Draft(repository)
        return [version_of(draft.image(model, target)) for target in targets_of(model)]
    except (InputError, NotFoundError):
        return []
