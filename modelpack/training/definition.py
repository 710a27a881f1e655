"""`model-images/<name>/training.yaml`: what a model is trained from and by, when it is stale, and what it must pass."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from modelpack.definition import API_VERSION
from modelpack.errors import InputError
from modelpack.fields import Fields, read
from modelpack.quality.evaluation import METRICS, Criterion
from modelpack.resources import NONE, Resources
from modelpack.resources import parse as parse_resources

BACKENDS = ("local", "job", "tekton", "kfp", "remote")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

Value = str | int | float | bool


@dataclass(frozen=True)
class Data:
    """What the model learns from. `source` is `dvc:FILE.dvc`, `dvc:dvc.lock#OUTPUT` (as the lock calls it),
    `s3://bucket/prefix`, or `git:PATH`, relative to the model's folder; `key` are the columns that tell one row from
    another, none for all of them; `target` is the column to predict; `checks` the file with the data's schema, "" for
    none; `heldout` the share of rows that is kept from training, by a hash of the key, so that a row once held out
    stays so."""

    source: str
    target: str
    key: tuple[str, ...] = ()
    checks: str = ""
    heldout: float = 0.2


@dataclass(frozen=True)
class Train:
    """What trains: a notebook or a command. Paths start at the model's folder."""

    notebook: str = ""
    command: tuple[str, ...] = ()
    parameters: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Quality:
    """What a candidate must pass. `predict` is a command that is given MODEL-FOLDER DATA.csv OUT.csv."""

    predict: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    confidence: float = 0.95
    segments: tuple[str, ...] = ()
    benchmark: str = ""


@dataclass(frozen=True)
class Stale:
    """When a model is trained anew, beside new data and new code. `age` is in seconds, 0.0 for never; `signals`: what
    the gate sees in what serves (drift, labels, alerts)."""

    age: float = 0.0
    signals: bool = False


@dataclass(frozen=True)
class Runs:
    """Where and how runs take place. `timeout` and `keep_*` are of one run and of a model's ended runs; `resources` are
    of the pods that train."""

    backend: str = "local"
    image: str = ""
    namespace: str = ""
    service_account: str = ""
    pipeline: str = ""
    url: str = ""
    timeout: float = 3600.0
    retries: int = 1
    keep_succeeded: int = 10
    keep_failed: int = 10
    resources: Resources = NONE


@dataclass(frozen=True)
class Output:
    """Where a run's notebook and HTML go ("" for nowhere; `{run}` is its id), and the .dvc file that the model is added
    under ("" for none)."""

    notebooks: str = ""
    dvc: str = ""


@dataclass(frozen=True)
class Training:
    """A parsed training.yaml. `propose` is how a passed model reaches Git: "pull-request" or "commit";
    `propose_experiment`: the reconciler compares a changed experiment, and proposes what passed by pull request.

    `code` are files and folders beside the notebook and those that the commands name: what makes another model of the
    same data. `tests` are the project's own checks, run before training.
    """

    name: str
    data: Data
    train: Train
    quality: Quality
    stale: Stale
    runs: Runs
    output: Output
    code: tuple[str, ...] = ()
    tests: tuple[tuple[str, ...], ...] = ()
    experiment: Train | None = None
    propose_experiment: bool = False
    propose: str = "pull-request"


def parse(data: bytes, name: str) -> Training:
    """Read a training.yaml's bytes; `name` is what messages call it. Raises InputError with file and line."""
    fields = read(data, name)
    fields.choice("apiVersion", [API_VERSION])
    fields.choice("kind", ["Training"])
    metadata = fields.mapping("metadata")
    model = metadata.text("name")
    metadata.done()
    experiment = fields.mapping("experiment") if "experiment" in fields else None
    proposed = bool(experiment and experiment.choice("propose", ["pull-request"], ""))
    training = Training(
        name=model,
        data=_data(fields.mapping("data")),
        train=_train(fields.mapping("train")),
        experiment=_train(experiment) if experiment else None,
        propose_experiment=proposed,
        quality=_quality(fields.mapping("quality")),
        stale=_stale(fields.mapping("stale")),
        runs=_runs(fields.mapping("runs")),
        output=_output(fields.mapping("output")),
        code=tuple(_path(fields, "code", each) for each in fields.texts("code")),
        tests=tuple(_command(each, "run") for each in fields.mappings("tests")),
        propose=fields.choice("propose", ["pull-request", "commit"], Training.propose),
    )
    fields.done()
    if experiment and proposed and training.runs.backend != "local":
        remedy = "leave it out, and call modelpack experiment --pr"
        raise experiment.error("propose", "needs runs with backend: local", remedy)
    return training


def _data(fields: Fields) -> Data:
    source = fields.text("source")
    scheme, colon, rest = source.partition(":")
    if not colon or scheme not in ("dvc", "s3", "git") or not rest:
        remedy = "write dvc:FILE.dvc, s3://bucket/prefix or git:PATH"
        raise fields.error("source", f"{source!r} is no kind of data", remedy)
    if scheme != "s3":
        _path(fields, "source", rest)
    data = Data(
        source=source,
        target=fields.text("target"),
        key=fields.texts("key"),
        checks=_path(fields, "checks", fields.text("checks", "")),
        heldout=fields.number("heldout", Data.heldout, low=0.01, high=0.9),
    )
    fields.done()
    return data


def _train(fields: Fields) -> Train:
    notebook, command = fields.text("notebook", ""), fields.texts("command")
    parameters = fields.value("parameters", {})
    fields.done()
    if bool(notebook) == bool(command):
        raise fields.error("notebook", "and command: exactly one of them trains")
    _path(fields, "notebook", notebook)
    if not isinstance(parameters, dict):
        raise fields.error("parameters", "is not a mapping")
    for key, value in parameters.items():
        if not isinstance(key, str) or not _PARAMETER.fullmatch(key):
            raise fields.error("parameters", f"{key!r} is not a name that Python takes")
        if not isinstance(value, str | int | float | bool):
            raise fields.error("parameters", f"{key} is not a text, a number, true or false")
        if isinstance(value, float) and not math.isfinite(value):
            raise fields.error("parameters", f"{key} is not a finite number: JSON has no other")
    return Train(notebook, command, MappingProxyType(parameters))


def _quality(fields: Fields) -> Quality:
    criteria: list[Criterion] = []
    for each in fields.mappings("metrics"):
        metric = each.choice("name", METRICS)
        criterion = Criterion(
            metric,
            margin=each.number("margin", 0.0, low=0.0),
            limit=each.number("limit") if "limit" in each else None,
            benchmark=each.number("benchmark") if "benchmark" in each else None,
        )
        each.done()
        if metric in (other.metric for other in criteria):
            raise each.error("name", f"there is a second {metric!r}")
        criteria.append(criterion)
    if not criteria:
        raise fields.error("metrics", "are missing", "a gate without metrics would pass everything")
    quality = Quality(
        predict=_command(fields, "predict"),
        criteria=tuple(criteria),
        confidence=fields.number("confidence", Quality.confidence, low=0.5, high=0.9999),
        segments=fields.texts("segments"),
        benchmark=_path(fields, "benchmark", fields.text("benchmark", "")),
    )
    fields.done()
    return quality


def _stale(fields: Fields) -> Stale:
    stale = Stale(age=fields.duration("age", ""), signals=fields.flag("signals"))
    fields.done()
    return stale


def _runs(fields: Fields) -> Runs:
    keep = fields.mapping("keep")
    runs = Runs(
        backend=fields.choice("backend", BACKENDS, Runs.backend),
        image=fields.text("image", ""),
        namespace=fields.text("namespace", ""),
        service_account=fields.text("serviceAccount", ""),
        pipeline=fields.text("pipeline", ""),
        url=fields.text("url", ""),
        timeout=fields.duration("timeout", "1h"),
        retries=fields.integer("retries", Runs.retries, low=0, high=10),
        keep_succeeded=keep.integer("succeeded", Runs.keep_succeeded, low=0),
        keep_failed=keep.integer("failed", Runs.keep_failed, low=0),
        resources=parse_resources(fields),
    )
    keep.done()
    fields.done()
    needed = {"job": ("image",), "tekton": ("pipeline",), "kfp": ("url", "pipeline"), "remote": ("url",)}
    for key in needed.get(runs.backend, ()):
        if not fields.text(key, ""):
            raise fields.error("backend", f"{runs.backend} needs {key}")
    if runs.resources and runs.backend not in ("job", "tekton"):
        key = next(each for each in ("resources", "nodeSelector", "tolerations") if each in fields)
        raise fields.error(key, f"of a pod are for job and tekton, and backend is {runs.backend}")
    return runs


def _output(fields: Fields) -> Output:
    output = Output(fields.text("notebooks", ""), _path(fields, "dvc", fields.text("dvc", "")))
    fields.done()
    return output


def _command(fields: Fields, key: str) -> tuple[str, ...]:
    words = fields.texts(key)
    if not words:
        raise fields.error(key, "is missing, a list of words is needed", "write it like [python, predict.py]")
    return words


def _path(fields: Fields, key: str, path: str) -> str:
    """A path below the model's folder, or "" as it is."""
    try:
        return check_path(path) if path else ""
    except InputError as error:
        raise fields.error(key, f"{path!r} {error.problem}") from error


def check_path(path: str) -> str:
    """A relative path that stays where it starts; raises InputError."""
    parts = path.split("/")
    if path.startswith("/") or not path.isprintable() or any(each in ("", ".", "..", ".git") for each in parts):
        raise InputError(path, "is not a path below the model's folder")
    return path
