"""What a check's evidence rests on, as the store keeps it beside the evidence.

Counts, values and predictions are kept where they come in, and are cut at the time of the evidence when they are read
again. The rest is here: what else the check was told, and the answers to its golden set.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from modelpack.gate.checks import Window
from modelpack.gate.checks.check import Pair, Reply

LARGEST = 4 << 20  # bytes of the answers to a golden set, compressed
_KEPT = ("elapsed", "silent", "patience", "unreachable", "rollback", "approved", "ready")


@dataclass(frozen=True)
class Basis:
    """What one check saw when its evidence last became another, at `t` (unix seconds).

    `predictions` are how many it had been told of then, and `labels` how many of those had one. There may be fewer by
    now in `window.told`: old ones are forgotten, and a label that was corrected later is left out.
    """

    t: float
    window: Window
    predictions: int = 0
    labels: int = 0


def write(window: Window, now: float) -> str:
    told = {"predictions": len(window.told), "labels": sum(each.truth is not None for each in window.told)}
    return json.dumps({"t": now, **told, **{key: getattr(window, key) for key in _KEPT}})


def read(text: str) -> Basis:
    entry = json.loads(text)
    window = Window(**{key: entry.pop(key) for key in _KEPT})
    return Basis(window=window, **entry)


def pack(pairs: Sequence[Pair]) -> bytes:
    """Answers to a golden set for the database, b"" if they are more than `LARGEST`."""
    data = zlib.compress(json.dumps([asdict(each) for each in pairs]).encode())
    return data if len(data) <= LARGEST else b""


def unpack(data: bytes) -> tuple[Pair, ...] | None:
    entries = json.loads(zlib.decompress(data)) if data else None
    return entries and tuple(Pair(each["id"], Reply(**each["canary"]), Reply(**each["primary"])) for each in entries)
