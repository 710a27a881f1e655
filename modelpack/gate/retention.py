"""Forgets rollouts that ended long ago, some at a time: no transaction of it keeps others waiting."""

from __future__ import annotations

from modelpack.gate.feedback import Feedback
from modelpack.gate.measurements import Measurements
from modelpack.gate.store import Store

BATCH = 20  # rollouts


def forget(store: Store, measurements: Measurements, feedback: Feedback, before: float) -> bool:
    """Delete some rollouts that ended before a time (unix seconds) with all that is kept of them; the newest of each
    Canary stays, however old. Gives whether there were any.
    """
    with store.locked("retention"), store.writing():
        ids, digests = store.forget(before, BATCH)
        if ids:
            measurements.forget(ids)
            feedback.forget_lineage(digests)
        return bool(ids)
