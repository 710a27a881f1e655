"""What a training run is, as values: what was asked for, how it stands, what came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

from modelpack.quality.evaluation import Evaluation
from modelpack.training.definition import Value

T = TypeVar("T")

_LARGEST = 1e12  # seconds: the year 33658


class State(Enum):
    """How a run stands. LOST: nobody knows of it any more, and it left no result."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"  # it came to an end, whether or not its model passed
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def over(self) -> bool:
        return self not in (State.PENDING, State.RUNNING)


@dataclass(frozen=True)
class Run:
    """What is asked for. `id` is a DNS label that follows from what it is about, so that asking twice is asking once.

    `repository` is the location as modelpack takes it; `folder` the model's folder in it; `data` and `code` are
    versions like `dvc:<md5>` and `sha256:<hex>`; `created` is in unix seconds; `kind` is "train", or "experiment" for
    a comparison of the experimental pipeline with the one in production.
    """

    id: str
    model: str
    version: str
    repository: str
    branch: str
    commit: str
    folder: str
    data: str
    code: str
    reason: str
    created: float
    attempt: int = 1
    kind: str = "train"
    parameters: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Result:
    """What came out. `passed`: the quality gate; `image` is the packaged reference with digest, "" if there is none;
    `reason` one sentence; `notebook` where the HTML lies, "" if nowhere."""

    passed: bool
    reason: str
    image: str = ""
    evaluation: Evaluation | None = None
    notebook: str = ""


@dataclass(frozen=True)
class Seen:
    """How a run stands. `message` is why it failed or what it waits for; times are unix seconds, 0.0 for not yet.
    `retryable`: the same again may go better."""

    state: State
    message: str = ""
    started: float = 0.0
    ended: float = 0.0
    result: Result | None = None
    retryable: bool = False


def to_json(run: Run) -> dict[str, Any]:
    """A run as JSON, for `from_json`."""
    return {**vars(run), "parameters": dict(run.parameters)}


def from_json(value: Mapping[str, Any]) -> Run:
    """Raises KeyError, TypeError or ValueError for what is no run."""
    run = Run(**{**value, "parameters": MappingProxyType(dict(value["parameters"]))})
    texts = [each for each in vars(run) if each not in ("created", "attempt", "parameters")]
    return checked(run, texts, numbers=("created", "attempt"))


def checked(value: T, texts: Iterable[str], numbers: Iterable[str] = (), flags: Iterable[str] = ()) -> T:
    """The same value, whose attributes are what they should be; raises TypeError or ValueError. It may come from what a
    run's own programs wrote, and whoever reads it looks after other models too."""
    for each in texts:
        if not isinstance(found := getattr(value, each), str):
            raise TypeError(f"{each} is not a text")
        found.encode()  # half a character (a lone surrogate) cannot be written down
    for each in numbers:
        found = getattr(value, each)
        if not isinstance(found, int | float) or isinstance(found, bool) or not abs(found) < _LARGEST:
            raise TypeError(f"{each} is not a number")
    for each in flags:
        if not isinstance(getattr(value, each), bool):
            raise TypeError(f"{each} is neither true nor false")
    return value
