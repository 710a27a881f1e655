"""Asks golden sets, each rollout's in a thread of its own: no call and no look waits for one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from modelpack.errors import ModelpackError
from modelpack.gate import probe
from modelpack.gate.checks import Evidence, Golden, Window
from modelpack.gate.judging import Judging
from modelpack.gate.rollouts import ACTIVE, Rollout
from modelpack.gate.store import Store
from modelpack.gate.target import Target
from modelpack.gate.verdict import HOLD, PENDING

MOST = 16  # rollouts whose golden sets are asked at a time
PAUSE = 5.0  # seconds before a golden set that ended in hold is asked again, at least
Found = dict[str, tuple[Evidence, Window]]
_log = logging.getLogger(__name__)


class Asking:
    """Keeps what the canary and the primary answered to golden sets as evidence, if they still run what was asked."""

    def __init__(
        self,
        store: Store,
        judging: Judging,
        resolve: Callable[[str, str], Target],
        judge: Callable[[Rollout, Target, float], Rollout],
        clock: Callable[[], float],
    ) -> None:
        """`judge` is called under the Canary's lock, once there is new evidence."""
        self._store = store
        self._judging = judging
        self._resolve = resolve
        self._judge = judge
        self._clock = clock
        self._stopped = threading.Event()
        self._under_way: set[str] = set()
        self._asked: dict[tuple[str, str], float] = {}

    def stop(self) -> None:
        self._stopped.set()

    def under_way(self, rollout_id: str) -> bool:
        return rollout_id in self._under_way

    def forget(self, namespace: str, name: str) -> None:
        self._asked.pop((namespace, name), None)

    def begin(self, rollout: Rollout, target: Target, term: str) -> None:
        """Start asking, if that is still to be done. Called under the Canary's lock by the gate that has the lease."""
        checks = self._judging.config(rollout.id).goldens
        if not checks or rollout.state != ACTIVE or rollout.id in self._under_way or rollout.decision.final:
            return
        if not (target.canary.url and target.primary.url):
            return  # not started yet
        known = self._store.evidence(rollout.id)
        seen = [known[each.name] for each in checks if each.name in known]
        if len(seen) == len(checks) and all(each.verdict != PENDING for each in seen):
            pause = max(PAUSE, 5 * target.interval)
            # a hold with an estimate is about the answers, and the same ones would come again
            failed = any(each.verdict == HOLD and each.estimate is None for each in seen)
            if not failed or self._clock() - self._asked.get((rollout.namespace, rollout.name), 0.0) < pause:
                return
        if len(self._under_way) >= MOST:
            return  # at a later look
        self._under_way.add(rollout.id)
        asker = threading.Thread(target=self._ask, args=(rollout, checks, target, term), daemon=True, name="golden")
        try:
            asker.start()
        except RuntimeError:  # no more threads
            self._under_way.discard(rollout.id)
            _log.warning("the golden set of %s waits: no thread can be started", rollout.id)

    def _ask(self, rollout: Rollout, checks: Sequence[Golden], target: Target, term: str) -> None:
        try:
            found = self._answers(rollout, checks, target)
            if found is not None:
                self._keep(rollout, found, target, term)
        except ModelpackError as error:
            _log.warning("the golden set of %s: %s", rollout.id, error)
        except Exception:
            _log.exception("the golden set of %s", rollout.id)
        finally:
            self._under_way.discard(rollout.id)

    def _answers(self, rollout: Rollout, checks: Sequence[Golden], target: Target) -> Found | None:
        """What the checks make of the answers, with those; None if the gate stops meanwhile."""
        config, found = self._judging.config(rollout.id), Found()
        for check in checks:
            pairs = probe.ask(check, target, self._stopped.is_set)
            if self._stopped.is_set():
                return None
            window = Window(pairs=pairs, rollback=rollout.rollback, alpha=config.alpha_of(check))
            found[check.name] = check.evaluate(window), window
        return found

    def _keep(self, rollout: Rollout, found: Found, target: Target, term: str) -> None:
        with self._store.locked("canary", target.namespace, target.name):
            after = self._resolve(target.namespace, target.name)
            if (after.canary, after.primary) == (target.canary, target.primary) and self._store.leads(term):
                self._store.add_evidence(rollout, found, self._clock())
                self._asked[rollout.namespace, rollout.name] = self._clock()
                latest = self._store.rollout(rollout.id)
                if latest:
                    self._judge(latest, after, self._clock())
