"""What the gate asks of where it runs, a rehearsal or a cluster: how a rollout looks, what judges it, its counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelpack.gate.samples import MetricSource
from modelpack.gate.selectors import Selector


@dataclass(frozen=True)
class Endpoint:
    """A version that runs: its base address, and its image as the Deployment names it."""

    url: str
    image: str

    @property
    def digest(self) -> str:
        """The model's identity here: the digest, or the whole reference where it has none."""
        return self.image.partition("@")[2] or self.image

    @property
    def version(self) -> str:
        """What servers call it: the image's tag, else its digest."""
        return self.image.partition("@")[0].rpartition("/")[2].partition(":")[2] or self.digest


@dataclass(frozen=True)
class Target:
    """A Canary and its two versions. `weight` is the canary's percent, `interval` real seconds between analysis ticks,
    `speed` how much faster than in a cluster time passes, `metrics` where the counters are. `rollback`: a person asked
    to go back to the canary's version. `failed_at` is when the canary's very image failed, in unix seconds; 0.0 if it
    did not, or if nobody can tell that it was this one.
    """

    namespace: str
    name: str
    phase: str
    weight: float
    last_applied: str
    canary: Endpoint
    primary: Endpoint
    metrics: str
    interval: float
    speed: float
    rollback: bool = False
    failed_at: float = 0.0


class Surroundings(Protocol):
    """Where the gate runs. Used by several threads at once; every call may take seconds.

    `recent` is for how many seconds a reading of a Canary will do for answers that let nothing pass.
    """

    recent: float

    def resolve(self, namespace: str, name: str) -> Target:
        """One consistent reading of a Canary; raises NotFoundError if there is none any more, else ModelpackError."""
        ...

    def config(self, namespace: str, model: str) -> Mapping[str, bytes]:
        """A model's gate.yaml and the files beside it as they are now, by name; raises ModelpackError."""
        ...

    def source(self, target: Target, selectors: Sequence[Selector]) -> MetricSource:
        """The counters that these filled selectors name, for one meter."""
        ...

    def why_unready(self) -> str:
        """Why calls cannot be answered yet, "" once they can."""
        ...
