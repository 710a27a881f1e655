"""From what is stored of a rollout to its verdict: gives each check its window, and keeps what it says."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from functools import lru_cache

from modelpack.gate.basis import Basis
from modelpack.gate.checks import Approval, Check, Golden, Told, Window
from modelpack.gate.config import GateConfig, parse
from modelpack.gate.feedback import Feedback
from modelpack.gate.measurements import Measurements
from modelpack.gate.meter import Meter
from modelpack.gate.rollouts import ACTIVE, Rollout
from modelpack.gate.store import Store
from modelpack.gate.target import Target
from modelpack.gate.verdict import ACCEPT, HOLD, combine

PATIENCE = 3  # intervals without a request to the canary before that is a reason to hold
LEAST_PATIENCE = 3.0  # seconds
CONFIGS = 50  # parsed configurations that are kept: one may hold megabytes of examples
_log = logging.getLogger(__name__)


class Judging:
    """Judges rollouts by what was measured and told. Whoever calls it holds the Canary's lock."""

    def __init__(self, store: Store, measurements: Measurements, feedback: Feedback) -> None:
        self._store = store
        self._measurements = measurements
        self._feedback = feedback
        self._contents: dict[str, str] = {}  # of rollouts, by their ids: what their files hash to
        self._configs: dict[str, GateConfig] = {}  # by that hash: many rollouts are judged by the same files

    def config(self, rollout_id: str) -> GateConfig:
        """The configuration that the rollout was minted with."""
        config = self._configs.get(self._contents.get(rollout_id, ""))
        if config is None:
            files = self._store.files(rollout_id)
            digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
            config = self._configs.get(digest) or parse(files, "gate")
            for kept, most in ((self._contents, 100 * CONFIGS), (self._configs, CONFIGS)):
                while len(kept) >= most:
                    kept.pop(next(iter(kept)), None)
            self._contents[rollout_id], self._configs[digest] = digest, config
        return config

    def is_asked(self, rollout: Rollout) -> bool:
        """Whether it is a check that waits for a person."""
        found = self._store.evidence(rollout.id)
        asking = [each.name for each in self.config(rollout.id).checks if isinstance(each, Approval)]
        return not rollout.decision.final and any(found[each].verdict == HOLD for each in asking if each in found)

    def judge(self, rollout: Rollout, target: Target, meter: Meter | None, now: float) -> Rollout:
        """The rollout with the verdict that all evidence gives now."""
        if rollout.state != ACTIVE or rollout.ended is not None:
            return rollout
        config = self.config(rollout.id)
        known = self._store.evidence(rollout.id)
        found, windows = dict(known), dict[str, Window]()
        told: tuple[Told, ...] | None = None  # read once, for all checks that rest on it
        for check in config.checks:
            if isinstance(check, Golden):  # answered beside the looks
                if check.name not in found:
                    windows[check.name] = Window()
            elif not isinstance(check, Approval):
                if told is None and not check.needs:
                    told = self._told(rollout, now)
                windows[check.name] = self._window(rollout, check, target, meter, told or (), now)
            if check.name in windows:
                found[check.name] = check.evaluate(windows[check.name])
        ready = all(found[each.name].verdict == ACCEPT for each in config.checks if not isinstance(each, Approval))
        for check in config.checks:
            if isinstance(check, Approval):
                windows[check.name] = Window(approved=rollout.approved, ready=ready, rollback=rollout.rollback)
                found[check.name] = check.evaluate(windows[check.name])
        if found != known:
            self._store.add_evidence(rollout, {name: (found[name], each) for name, each in windows.items()}, now)
        given = [(check.name, found[check.name].verdict, found[check.name].reason) for check in config.checks]
        under_traffic = rollout.under_traffic(now)
        verdict = combine(rollout.decision, given, ready=ready, under_traffic=under_traffic, horizon=rollout.horizon)
        judged = replace(rollout, decision=verdict)
        if judged != rollout:
            self._store.save([judged], now)
        if verdict.verdict != rollout.decision.verdict:
            log_verdict(judged)
        return judged

    def basis(self, rollout: Rollout) -> dict[str, Basis]:
        """What each check's evidence rests on, by its name, as it was when that last became another."""
        known, told = self._store.bases(rollout.id), dict[float, tuple[Told, ...]]()
        found = {}
        for check in self.config(rollout.id).checks:
            kept = known.get(check.name, Basis(rollout.started, Window()))
            if kept.predictions and kept.t not in told:
                told[kept.t] = self._told(rollout, kept.t)
            window = self._counted(rollout, check, kept.window, told.get(kept.t, ()), kept.t)
            found[check.name] = replace(kept, window=window)
        return found

    def _window(
        self, rollout: Rollout, check: Check, target: Target, meter: Meter | None, told: tuple[Told, ...], now: float
    ) -> Window:
        unreachable = meter.trouble(check.name, now) if meter else ""
        window = Window(
            elapsed=rollout.elapsed(now),
            silent=min(meter.silent(check.name, now), rollout.under_traffic(now)) if meter else 0.0,
            patience=max(LEAST_PATIENCE, PATIENCE * target.interval),
            rollback=rollout.rollback,
            unreachable=unreachable if rollout.traffic_started is not None else "",
        )
        return self._counted(rollout, check, window, told, now)

    def _counted(self, rollout: Rollout, check: Check, window: Window, told: tuple[Told, ...], at: float) -> Window:
        """The window with what had come in for a check at a time (unix seconds)."""
        counted = [each for each in check.needs if each.counted]
        return replace(
            window,
            slices=self._measurements.slices(rollout.id, check.name, window.elapsed) if counted else {},
            told=() if check.needs or isinstance(check, Golden | Approval) else told,
            values=self._measurements.values(rollout.id, check.name, at) if len(counted) < len(check.needs) else (),
            alpha=self.config(rollout.id).alpha_of(check),
        )

    def _told(self, rollout: Rollout, until: float) -> tuple[Told, ...]:
        """What servers told of since the canary got traffic, by the role of the version that they named."""
        if rollout.traffic_started is None:
            return ()
        return self._feedback.told(rollout.model, rollout.roles, rollout.traffic_started, rollout.horizon, until)


def log_verdict(rollout: Rollout) -> None:
    decision = rollout.decision
    keys = {key: getattr(rollout, key) for key in ("namespace", "model", "image", "weight")}
    known = {"rollout": rollout.id, "canary": rollout.name, "verdict": decision.verdict, **keys}
    _log.info("%s: %s, %s", rollout.id, decision.verdict, decision.reason, extra=known)


@lru_cache(maxsize=8)  # many rollouts are judged by the same files
def read_files(files: tuple[tuple[str, bytes], ...], folder: str) -> GateConfig:
    """`config.parse` for files in order of their names."""
    return parse(dict(files), folder)
