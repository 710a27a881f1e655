"""The gate at work: takes Flagger's calls, looks at the target, measures, and lets the pure parts decide.

Whatever reads a Canary and decides about it does both under that Canary's lock, so that no decision is made twice and
none by an older look than the last. Golden sets and counters are read outside of it: no call waits for those.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from modelpack.errors import InputError, ModelpackError, NotFoundError, RemoteError
from modelpack.gate import probe
from modelpack.gate import rollouts as lifecycle
from modelpack.gate.checks import Golden, Window
from modelpack.gate.config import GateConfig
from modelpack.gate.feedback import Feedback
from modelpack.gate.judging import Judging, read_files
from modelpack.gate.measurements import Measurements
from modelpack.gate.meter import Measured, Meter, Steady
from modelpack.gate.rollouts import ACTIVE, ANALYSIS, MINTING_HOOKS, Approval, Call, Rollout
from modelpack.gate.samples import MetricSource
from modelpack.gate.store import Event, Store
from modelpack.gate.target import Surroundings, Target
from modelpack.gate.verdict import HOLD, PASSES, PENDING, Decision
from modelpack.gate.watcher import Watcher
from modelpack.text import blanked

LOCK_TIMEOUT = 3.0  # seconds; with one reading of the Canary less than the 10 s that Flagger waits
GOLDEN_PAUSE = 5.0  # seconds before a golden set that ended in hold is asked again, at least
SWEEP = 30.0  # seconds between looks at the Canaries that have no open rollout
_MODEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_log = logging.getLogger(__name__)
_NOTHING = Measured()
Mint = Callable[[str, Call, Target, GateConfig, float], Rollout]


@dataclass(frozen=True)
class Answer:
    """What Flagger gets: 200 or 403, the reason, and which rollout it was about ("" for none)."""

    status: int
    decision: Decision
    rollout: str = ""


class Gate:
    """The metrics checker of one rehearsal or cluster. `start` and `stop` frame its background work."""

    def __init__(self, surroundings: Surroundings, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._surroundings = surroundings
        self._store = store
        self._clock = clock
        self.feedback = Feedback(store, clock)
        self._measurements = Measurements(store)
        self._judging = Judging(store, self._measurements, self.feedback)
        self._locks: WeakValueDictionary[tuple[str, str], threading.Lock] = WeakValueDictionary()
        self._finding = threading.Lock()
        self._watcher = Watcher(self.look, self._watched)
        self._canaries = store.canaries()
        self._next_sweep = 0.0
        self._meters: dict[tuple[str, str], Meter] = {}
        self._probing: set[str] = set()
        self._probed: dict[str, float] = {}

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._watcher.stop()

    def why_unready(self) -> str:
        """Why Flagger should not ask this gate, "" if it may."""
        return self._surroundings.why_unready() if self._watcher.alive else "the watcher does not run"

    def probing(self, rollout_id: str) -> bool:
        """Whether the golden set is being asked."""
        return rollout_id in self._probing

    # -- what serves

    def now(self) -> float:
        return self._clock()

    def canaries(self) -> dict[tuple[str, str], str]:
        """The models of all Canaries that ever called, by namespace and name."""
        return dict(self._canaries)

    def metrics(self, namespace: str, name: str) -> MetricSource:
        """Where a Canary's counters are; raises ModelpackError."""
        return self._surroundings.source(self._surroundings.resolve(namespace, name), ())

    # -- Flagger's calls

    def decide(self, call: Call) -> Answer:
        """Answer one call, after one look at the target; waits for other calls `LOCK_TIMEOUT` seconds at most."""
        rollout_id = ""
        try:
            with self._locked(call.namespace, call.name):
                rollout = self._find(call)
                rollout_id = rollout.id
                decision = lifecycle.decision(rollout)
        except ModelpackError as error:
            decision = Decision(HOLD, blanked(str(error)))
        return Answer(200 if decision.verdict in PASSES[call.hook] else 403, decision, rollout_id)

    def note(self, call: Call, answer: Answer) -> None:
        """Record a call with what it was answered; calls about no known rollout are only logged."""
        try:
            self._note(call, answer)
        except ModelpackError as error:
            _log.warning("%s of %s/%s is not recorded: %s", call.hook, call.namespace, call.name, error)

    def _note(self, call: Call, answer: Answer) -> None:
        if answer.rollout:
            reason = answer.decision.reason
            event = Event(self._clock(), call.hook, call.phase, call.message, answer.status, reason)
            self._store.add_event(answer.rollout, event)
        elif answer.status != 200:
            _log.warning("%s of %s/%s: %s", call.hook, call.namespace, call.name, answer.decision.reason)

    def settle(self, rollout_id: str, note: str) -> Rollout | None:
        """Note that Git says what serves again; None if there is no such rollout. A second note replaces the first."""
        return self._change(rollout_id, lambda rollout: replace(rollout, settled=True, settled_note=note))

    def approve(self, rollout_id: str, approval: Approval) -> Rollout | None:
        """Let a person decide; None if there is no such rollout. Raises RefusedError if there is nothing to decide."""
        decided = self._change(
            rollout_id, lambda rollout: lifecycle.approve(rollout, approval, asked=self._judging.is_asked(rollout))
        )
        if decided is not None:
            status, reason = 200 if approval.approve else 403, decided.decision.reason
            event = Event(self._clock(), "approval", decided.phase, "", status, reason)
            self._store.add_event(rollout_id, event)
        return decided

    def _change(self, rollout_id: str, change: Callable[[Rollout], Rollout]) -> Rollout | None:
        known = self._store.rollout(rollout_id)
        if known is None:
            return None
        with self._locked(known.namespace, known.name):
            changed = change(self._store.rollout(rollout_id) or known)
            self._store.save([changed], self._clock())
            return changed

    def _last(self, call: Call) -> Rollout | None:
        """The rollout that a call after its end is about."""
        known = self._store.rollouts(namespace=call.namespace, name=call.name, checksum=call.checksum)
        return known[0] if known else None

    def _find(self, call: Call) -> Rollout:
        """The rollout that a call is about, up to date; raises ModelpackError if there is none."""
        target = self._surroundings.resolve(call.namespace, call.name)
        now = self._clock()
        if _MODEL.fullmatch(call.model) and self._canaries.get((call.namespace, call.name)) != call.model:
            self._know(call.namespace, call.name, call.model)
        still_open = self._observe(target, now)
        self._catch_up(target, call.checksum, now)
        binding = lifecycle.bind(call, still_open, target, now)
        self._store.save(binding.changed, now)
        rollout = self._mint(call, target, now) if binding.mint else binding.rollout
        if rollout is None and call.hook not in MINTING_HOOKS:
            rollout = self._last(call)
        if rollout is None:
            raise NotFoundError(f"{call.namespace}/{call.name}", binding.reason)
        self._ask_golden(rollout, target)
        return self._judge(rollout, target, now)

    def _mint(self, call: Call, target: Target, now: float, mint: Mint = lifecycle.mint) -> Rollout:
        files, config = self.read_config(call.namespace, call.model)
        rollout = mint(f"{config.name}-{secrets.token_hex(4)}", call, target, config, now)
        self._store.add(rollout, files)
        return rollout

    def read_config(self, namespace: str, model: str) -> tuple[Mapping[str, bytes], GateConfig]:
        """A model's gate.yaml and the files beside it as they are now, and what they say; raises ModelpackError."""
        if not _MODEL.fullmatch(model):
            raise InputError("the webhook's metadata", f"{model!r} is not a model", "write metadata: {model: NAME}")
        files = self._surroundings.config(namespace, model)
        config = read_files(tuple(sorted(files.items())), model)
        if config.name != model:
            raise InputError(f"{model}/gate.yaml", f"metadata.name is {config.name!r}, not {model!r}")
        return files, config

    def config(self, rollout_id: str) -> GateConfig:
        """The configuration that the rollout was minted with."""
        return self._judging.config(rollout_id)

    def basis(self, rollout: Rollout) -> dict[str, Window]:
        """What was counted and told for each check, by its name."""
        return self._judging.basis(rollout)

    def _observe(self, target: Target, now: float) -> list[Rollout]:
        """This Canary's rollouts that have not ended, after a look at the target."""
        before = self._store.open(target.namespace, target.name)
        after = lifecycle.observe(before, target, now)
        self._store.save([new for old, new in zip(before, after, strict=True) if old != new], now)
        return [each for each in after if each.ended is None]

    def _catch_up(self, target: Target, checksum: str, now: float) -> None:
        """Have a rollout for a failure that came without one, so that settle hears of it. Called under the lock."""
        model = self._canaries.get((target.namespace, target.name), "")
        if not target.failed_at or not model:
            return
        if lifecycle.missed(self._store.rollouts(namespace=target.namespace, name=target.name), target):
            call = Call("", target.namespace, target.name, target.phase, checksum, model)
            self._mint(call, target, now, lifecycle.mint_missed)

    def _know(self, namespace: str, name: str, model: str) -> None:
        self._store.know(namespace, name, model)
        if model:
            self._canaries[namespace, name] = model
        else:
            self._canaries.pop((namespace, name), None)

    def _judge(self, rollout: Rollout, target: Target, now: float) -> Rollout:
        """The rollout with the verdict that all evidence gives now."""
        meter = self._meters.get((rollout.namespace, rollout.name))
        return self._judging.judge(rollout, target, meter if meter and meter.rollout == rollout.id else None, now)

    @contextmanager
    def _locked(self, namespace: str, name: str) -> Iterator[None]:
        with self._finding:  # a lock that nobody holds or waits for is forgotten: names come from anybody
            lock = self._locks.setdefault((namespace, name), threading.Lock())
        if not lock.acquire(timeout=LOCK_TIMEOUT):
            raise RemoteError("the gate", "is busy")
        try:
            yield
        finally:
            lock.release()

    # -- the background

    def _watched(self) -> set[tuple[str, str]]:
        """The Canaries with an open rollout, and now and then all that ever called: a call may have been missed."""
        found = {(each.namespace, each.name) for each in self._store.open()}
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP
            found |= set(self._canaries)
        return found

    def look(self, namespace: str, name: str) -> float | None:
        """One look at a Canary and its counters: the seconds until the next is due, None if it has no open rollout."""
        with self._locked(namespace, name):
            now = self._clock()
            try:
                target = self._surroundings.resolve(namespace, name)
            except NotFoundError:
                self._meters.pop((namespace, name), None)
                self._store.save([lifecycle.gone(each, now) for each in self._store.open(namespace, name)], now)
                self._know(namespace, name, "")
                return None
            now = self._clock()
            rollout = lifecycle.current(self._observe(target, now))
            self._catch_up(target, "", now)
            if rollout is None or rollout.state != ACTIVE or target.phase not in ANALYSIS:
                self._meters.pop((namespace, name), None)
                return None if rollout is None else _pace(target)
            self._ask_golden(rollout, target)
            steady = _steady(rollout, target, len(self._store.weights(rollout.id)))
            meter = self._meter(rollout, target, now)
        seen = meter.measure(steady, now, lambda: self._reread(rollout, steady.step)) if meter else _NOTHING
        with self._locked(namespace, name):
            latest = self._store.rollout(rollout.id)
            if latest and latest.ended is None and latest.state == ACTIVE:
                answered = any(any(each.canary.values()) for gains in seen.gains.values() for each in gains)
                if answered and latest.traffic_started is None:  # strategies without weights
                    latest = replace(latest, traffic_started=now)
                    self._store.save([latest], now)
                self._measurements.add_gains(rollout.id, seen.gains, latest.elapsed(now))
                self._measurements.add_values(rollout.id, seen.values, now)
                self._judge(latest, target, now)
        return _pace(target)

    def _meter(self, rollout: Rollout, target: Target, now: float) -> Meter | None:
        checks = [each for each in self.config(rollout.id).checks if each.needs]
        if not checks:
            return None
        canary = (rollout.namespace, rollout.name)
        meter = self._meters.get(canary)
        if meter is None or (meter.rollout, meter.address) != (rollout.id, target.metrics):
            meter = self._meters[canary] = Meter(rollout.id, target, checks, self._surroundings.source, now)
        return meter

    def _reread(self, rollout: Rollout, step: int) -> tuple[float, Steady | None]:
        now = self._clock()
        target = self._surroundings.resolve(rollout.namespace, rollout.name)
        return now, _steady(rollout, target, step) if target.phase in ANALYSIS else None

    def _ask_golden(self, rollout: Rollout, target: Target) -> None:
        """Start asking the golden set, if that is still to be done. Called under the lock."""
        checks = self.config(rollout.id).goldens
        if not checks or rollout.state != ACTIVE or rollout.id in self._probing or rollout.decision.final:
            return
        if not (target.canary.url and target.primary.url):
            return  # not started yet
        known = self._store.evidence(rollout.id)
        seen = [known[each.name] for each in checks if each.name in known]
        if len(seen) == len(checks) and all(each.verdict != PENDING for each in seen):
            pause = max(GOLDEN_PAUSE, 5 * target.interval)
            # a hold with an estimate is about the answers, and the same ones would come again
            failed = any(each.verdict == HOLD and each.estimate is None for each in seen)
            if not failed or self._clock() - self._probed.get(rollout.id, 0.0) < pause:
                return
        self._probing.add(rollout.id)
        threading.Thread(target=self._golden, args=(rollout, checks, target), daemon=True, name="golden").start()

    def _golden(self, rollout: Rollout, checks: Sequence[Golden], target: Target) -> None:
        try:
            config, found = self.config(rollout.id), {}
            for check in checks:
                pairs = probe.ask(check, target, lambda: self._watcher.stopped)
                if self._watcher.stopped:
                    return
                window = Window(pairs=pairs, rollback=rollout.rollback, alpha=config.alpha_of(check))
                found[check.name] = check.evaluate(window)
            with self._locked(target.namespace, target.name):
                after = self._surroundings.resolve(target.namespace, target.name)
                if (after.canary, after.primary) == (target.canary, target.primary):
                    self._store.add_evidence(rollout, found, self._clock())
                    self._probed[rollout.id] = self._clock()
                    latest = self._store.rollout(rollout.id)
                    if latest:
                        self._judge(latest, after, self._clock())
        except ModelpackError as error:
            _log.warning("the golden set of %s: %s", rollout.id, error)
        except Exception:
            _log.exception("the golden set of %s", rollout.id)
        finally:
            self._probing.discard(rollout.id)


def _pace(target: Target) -> float:
    """Seconds between looks."""
    return min(5.0, max(0.25, target.interval / 4))


def _steady(rollout: Rollout, target: Target, step: int) -> Steady:
    return Steady(step, lifecycle.weight(rollout, target), target.canary, target.primary)
