"""What goes into a check and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from modelpack.gate.sequential import Stratum


@dataclass(frozen=True)
class Reply:
    """What one version answered to one golden request: a prediction, or why there is none."""

    value: Any = None
    error: str = ""


@dataclass(frozen=True)
class Pair:
    """One golden example as both versions answered it."""

    id: str
    canary: Reply
    primary: Reply


@dataclass(frozen=True)
class Window:
    """All that was seen of a rollout so far, as one check gets it.

    `pairs` is None until the golden set has been asked. `alpha` is this check's share of the rollout's. `silent` is for
    how many seconds the canary, being under traffic, has answered nothing; from `patience` seconds on that is an answer
    in itself. `unreachable` says why the metrics cannot be read, "" if they can. `rollback`: a person asked to go back
    to this version, so that being healthy is enough.
    """

    pairs: tuple[Pair, ...] | None = None
    strata: tuple[Stratum, ...] = ()
    alpha: float = 0.05
    silent: float = 0.0
    patience: float = 60.0
    unreachable: str = ""
    rollback: bool = False


@dataclass(frozen=True)
class Evidence:
    """What a check says. `estimate` is canary minus primary, with its interval; None where there is no number yet.

    `n` and `n_primary` count canary and primary requests, or golden examples. `worst` are the golden examples to look
    at first.
    """

    verdict: str
    reason: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    canary: float | None = None
    primary: float | None = None
    worst: tuple[dict[str, Any], ...] = ()
    n_primary: int = 0


class Check(Protocol):
    """What the engine asks of a check; `description` is its static part in the API's JSON."""

    @property
    def name(self) -> str: ...

    def evaluate(self, window: Window) -> Evidence: ...

    def description(self) -> dict[str, Any]: ...
