"""The surroundings of a rehearsal: a folder on this machine.

`target.json` says how the rollout looks; it is replaced by rename, so that one read is always consistent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelpack.errors import InputError, NotFoundError, RemoteError
from modelpack.gate.config import FILES
from modelpack.gate.samples import MetricSource
from modelpack.gate.scraper import Scraper
from modelpack.gate.selectors import Selector
from modelpack.gate.target import Endpoint, Target

_MAX_BYTES = 1 << 20


class Rehearsal:
    """The surroundings in a rehearsal's folder, with one Canary."""

    recent = 0.0

    def __init__(self, folder: Path) -> None:
        self._path = folder / "target.json"
        self._models = folder / "models"

    def _read(self) -> Target:
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
        target = self._read()
        if (target.namespace, target.name) != (namespace, name):
            raise NotFoundError(f"{namespace}/{name}", f"the rehearsal is about {target.namespace}/{target.name}")
        return target

    def config(self, namespace: str, model: str) -> Mapping[str, bytes]:
        """The files of `models/MODEL`; a rehearsal knows no namespaces."""
        found = {}
        for name in FILES:
            try:
                found[name] = (self._models / model / name).read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise RemoteError(f"{model}/{name}", f"cannot be read: {error.strerror}") from error
        return found

    def source(self, target: Target, selectors: Sequence[Selector]) -> MetricSource:
        return Scraper(target.metrics, selectors)

    def why_unready(self) -> str:
        return ""


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
