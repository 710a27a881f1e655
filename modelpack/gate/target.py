"""What the rollout looks like now: phase, weight, and which images canary and primary run.

In a rehearsal it is `target.json`, replaced by rename, so that one read is always consistent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.errors import InputError, NotFoundError, RemoteError

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Endpoint:
    """A version that runs: its base address, and its image as the Deployment names it."""

    url: str
    image: str

    @property
    def digest(self) -> str:
        """The model's identity here: the digest, or the whole reference where it has none."""
        return self.image.partition("@")[2] or self.image


@dataclass(frozen=True)
class Target:
    """A Canary and its two versions. `weight` is the canary's percent, `interval` real seconds between analysis ticks,
    `speed` how much faster than in a cluster time passes, `metrics` where the counters are. `rollback`: a person asked
    to go back to the canary's version.
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


class TargetFile:
    """Reads a rehearsal's `target.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Target:
        """Raises NotFoundError while there is no file, InputError for one that makes no sense."""
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_BYTES)
        except FileNotFoundError as error:
            raise NotFoundError(self._path.name, "there is no rehearsal yet") from error
        except OSError as error:
            raise RemoteError(self._path.name, f"cannot be read: {error.strerror}") from error
        try:
            return _target(json.loads(data))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(self._path.name, f"is not a target: {type(error).__name__} {error}") from error

    def resolve(self, namespace: str, name: str) -> Target:
        """The target of this Canary; raises NotFoundError if the file is about another."""
        target = self.read()
        if (target.namespace, target.name) != (namespace, name):
            raise NotFoundError(f"{namespace}/{name}", f"the rehearsal is about {target.namespace}/{target.name}")
        return target


def _target(entry: Any) -> Target:
    interval, speed = float(entry.get("interval", 10.0)), float(entry.get("speed", 1.0))
    if not (interval > 0 and speed > 0):
        raise ValueError("interval and speed have to be above zero")
    return Target(
        namespace=_text(entry["namespace"]),
        name=_text(entry["name"]),
        phase=_text(entry["phase"]),
        weight=float(entry.get("weight") or 0.0),
        last_applied=_text(entry.get("last_applied") or ""),
        canary=_endpoint(entry["canary"]),
        primary=_endpoint(entry["primary"]),
        metrics=_text(entry.get("metrics") or ""),
        interval=interval,
        speed=speed,
        rollback=entry.get("rollback") is True,
    )


def _endpoint(entry: Any) -> Endpoint:
    return Endpoint(_text(entry["url"]).rstrip("/"), _text(entry["image"]))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{value!a} is not a printable text")
    return value
