"""Everything that a rollout was decided by: what was asked, counted and told, the files it was judged by, versions.

From `files` and `basis` alone the checks of live traffic give the same evidence again.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from modelpack import __version__
from modelpack.gate.checks import Window

LIBRARIES = ("numpy", "scipy")


def record(rollout: Mapping[str, Any], files: Mapping[str, bytes], basis: Mapping[str, Window]) -> dict[str, Any]:
    """The report of a rollout as JSON values; `rollout` is the gate's JSON of it."""
    return {
        "rollout": dict(rollout),
        "versions": {
            "modelpack": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "files": {name: _file(data) for name, data in sorted(files.items())},
        "basis": {name: _window(window) for name, window in basis.items()},
    }


def _file(data: bytes) -> dict[str, str]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    try:
        return {"digest": digest, "text": data.decode()}
    except UnicodeDecodeError:
        return {"digest": digest, "base64": base64.b64encode(data).decode()}


def _window(window: Window) -> dict[str, Any]:
    """What was seen; times in shares of the horizon, a value's in unix seconds."""
    return {
        "alpha": window.alpha,
        "elapsed": window.elapsed,
        "slices": {
            segment: [asdict(each) for each in several if each.whole] for segment, several in window.slices.items()
        },
        "values": [list(each) for each in window.values],
        "told": [asdict(each) for each in window.told],
    }
