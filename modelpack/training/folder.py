"""A run's folder: what each step finds there and leaves there, and how a run's outcome is kept."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from modelpack.definition import Definition
from modelpack.definition import load as load_definition
from modelpack.errors import InputError, IntegrityError, NotFoundError, RemoteError
from modelpack.quality import evaluation as quality
from modelpack.training.definition import Training, parse
from modelpack.training.run import Result, Run, Seen, State, checked, from_json, to_json

TRAINING = "training.yaml"
_LARGEST = 16 << 20  # bytes of a JSON file that a step left
_SENTENCE = 400  # characters of a reason in a compact outcome


@dataclass(frozen=True)
class Folder:
    """The places below one run's folder."""

    path: Path

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"

    @property
    def source(self) -> Path:
        return self.path / "source"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def all_data(self) -> Path:
        return self.data / "all.csv"

    @property
    def train_data(self) -> Path:
        return self.data / "train.csv"

    @property
    def heldout(self) -> Path:
        return self.data / "heldout.csv"

    @property
    def previous(self) -> Path:
        return self.data / "previous.csv"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def notebook(self) -> Path:
        return self.path / "notebook.ipynb"

    @property
    def html(self) -> Path:
        return self.path / "notebook.html"

    @property
    def validation(self) -> Path:
        return self.path / "validation.json"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def steps(self) -> Path:
        """When the run began, and which steps are done."""
        return self.path / "steps.json"

    @property
    def current(self) -> Path:
        """The model that Git names."""
        return self.path / "current"

    @property
    def home(self) -> Path:
        """The home folder of the project's own programs."""
        return self.path / "home"

    @property
    def outcome(self) -> Path:
        return self.path / "result.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def run(self) -> Run:
        """What is to be done; raises NotFoundError, and InputError for what is no run."""
        try:
            return from_json(read_json(self.run_file))
        except FileNotFoundError as error:
            raise NotFoundError(self.run_file, "there is no such file", "give the run with --run") from error
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(self.run_file, "is not a run") from error

    def model_folder(self, run: Run) -> Path:
        """The model's folder in the checkout: where its commands run."""
        return self.source / run.folder

    def training(self, run: Run) -> Training:
        """The training.yaml of the run's commit; raises NotFoundError before the fetch step, and InputError."""
        path = self.model_folder(run) / TRAINING
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(path, "there is no such file", "run the step fetch first") from error
        except OSError as error:
            raise InputError(path, f"cannot be read: {error.strerror}") from error
        return parse(data, f"{run.folder}/{TRAINING}")

    def definition(self, run: Run) -> Definition:
        """The model.yaml of the run's commit."""
        return load_definition(self.model_folder(run))

    def seen(self) -> Seen | None:
        """The outcome, None while there is none. One that cannot be read counts as none: nobody wrote it whole."""
        try:
            return seen_from_json(read_json(self.outcome))
        except (OSError, KeyError, TypeError, ValueError):
            return None

    def began(self) -> float:
        """When the first step began here, in unix seconds; 0.0 before one has ended."""
        try:
            return float(read_json(self.steps)["started"])
        except (OSError, KeyError, TypeError, ValueError):
            return 0.0

    def done(self) -> list[str]:
        """The steps that are done."""
        try:
            return [str(each) for each in read_json(self.steps)["done"]]
        except (OSError, KeyError, TypeError, ValueError):
            return []

    def put_seen(self, seen: Seen) -> None:
        write_json(self.outcome, seen_to_json(seen))

    def put_run(self, run: Run) -> None:
        write_json(self.run_file, to_json(run))


def read_json(path: Path) -> Any:
    """The value of a JSON file of bounded size; raises OSError or ValueError."""
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deep") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all; raises RemoteError for a disk that does not take it."""
    write(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")


def write(path: Path, data: bytes) -> None:
    """The same for any bytes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise RemoteError(path, f"cannot be written: {error.strerror}", "make room and try again") from error


def seen_to_json(seen: Seen) -> dict[str, Any]:
    """How a run stands as JSON, for `seen_from_json`."""
    return {**asdict(seen), "state": seen.state.value}


def seen_from_json(value: Mapping[str, Any]) -> Seen:
    """Raises KeyError, TypeError or ValueError for what is none."""
    known = {key: value[key] for key in Seen.__dataclass_fields__ if key in value}
    result = known.get("result")
    seen = Seen(**{**known, "state": State(value["state"]), "result": result_from_json(result) if result else None})
    return checked(seen, ("message",), numbers=("started", "ended"), flags=("retryable",))


def result_from_json(value: Mapping[str, Any]) -> Result:
    known = {key: value[key] for key in Result.__dataclass_fields__ if key in value}
    evaluation = known.get("evaluation")
    found = Result(**{**known, "evaluation": quality.from_json(evaluation) if evaluation else None})
    return checked(found, ("reason", "image", "notebook"), flags=("passed",))


def compact(seen: Seen) -> bytes:
    """An outcome without its tables, in less than 2 KiB: for places that hold no more. They are in the registry."""
    result = seen.result and replace(seen.result, evaluation=None, reason=_short(seen.result.reason))
    value = seen_to_json(replace(seen, message=_short(seen.message), result=result))
    if value["result"]:
        del value["result"]["evaluation"]
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def read_compact(text: str, subject: str) -> Seen:
    """Raises IntegrityError for what is no outcome."""
    try:
        return seen_from_json(json.loads(text))
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise IntegrityError(subject, "its outcome is none that this version can read") from error


def _short(text: str) -> str:
    text = " ".join(text.split()).encode("ascii", "replace").decode()
    return text if len(text) <= _SENTENCE else f"{text[: _SENTENCE - 1]}…"
