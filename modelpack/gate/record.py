"""Everything that a rollout was decided by: what was asked, counted and told, the files it was judged by, versions.

From `files` and `basis` alone every check gives the same evidence again.
"""

from __future__ import annotations

import base64
import hashlib
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import Any

from modelpack import __version__
from modelpack.gate.basis import Basis

LIBRARIES = ("numpy", "scipy")


def record(rollout: Mapping[str, Any], files: Mapping[str, bytes], basis: Mapping[str, Basis]) -> dict[str, Any]:
    """The report of a rollout as JSON values; `rollout` is the gate's JSON of it."""
    return {
        "rollout": dict(rollout),
        "versions": {
            "modelpack": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "files": {name: _file(data) for name, data in sorted(files.items())},
        "basis": {name: _basis(each) for name, each in basis.items()},
    }


def _file(data: bytes) -> dict[str, str]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    try:
        return {"digest": digest, "text": data.decode()}
    except UnicodeDecodeError:
        return {"digest": digest, "base64": base64.b64encode(data).decode()}


def _basis(basis: Basis) -> dict[str, Any]:
    """What a check saw: times in shares of the horizon, a value's and the evidence's own in unix seconds. `predictions`
    and `labels` are how many there were, `known` how many of those are known yet."""
    window = basis.window
    labelled = sum(each.truth is not None for each in window.told)
    slices = {name: [asdict(each) for each in several if each.whole] for name, several in window.slices.items()}
    return {
        "at": basis.t,
        "predictions": basis.predictions,
        "labels": basis.labels,
        "known": {"predictions": len(window.told), "labels": labelled},
        **{each.name: getattr(window, each.name) for each in fields(window)},
        "slices": slices,
        "pairs": None if window.pairs is None else [asdict(each) for each in window.pairs],
        "values": [[t, _plain(value)] for t, value in window.values],
        "told": [{**vars(each), "value": _plain(each.value), "truth": _plain(each.truth)} for each in window.told],
    }


def _plain(value: Any) -> Any:
    """As JSON can have it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
