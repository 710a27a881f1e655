"""The gate at work: takes Flagger's calls, looks at the target, measures, and lets the pure parts decide.

Whatever reads a Canary and decides about it does both under that Canary's lock, which is one transaction, so that no
decision is made twice, by no other gate either, and none by an older look than the last. Golden sets and counters are
read outside of it: no call waits for those. Of several gates on one database one has the lease: it watches, asks and
judges, and the others answer what it found.
"""

from __future__ import annotations

import logging
import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from modelpack.errors import InputError, ModelpackError, NotFoundError
from modelpack.gate import rollouts as lifecycle
from modelpack.gate.asking import Asking
from modelpack.gate.basis import Basis
from modelpack.gate.config import GateConfig
from modelpack.gate.feedback import Feedback
from modelpack.gate.judging import Judging, log_verdict, read_files
from modelpack.gate.measurements import Measurements
from modelpack.gate.meter import Measured, Meter, Steady
from modelpack.gate.retention import forget
from modelpack.gate.rollouts import ACTIVE, ANALYSIS, MINTING_HOOKS, Approval, Call, Rollout
from modelpack.gate.samples import MetricSource
from modelpack.gate.store import Event, Store
from modelpack.gate.target import Surroundings, Target
from modelpack.gate.turns import Turns
from modelpack.gate.verdict import HOLD, LATE, PASSES, PENDING, PROMOTES, Answer, Decision
from modelpack.gate.watcher import Watcher
from modelpack.text import blanked

SWEEP = 30.0  # seconds between looks at the Canaries that have no open rollout
LOOKS = 4  # that read a Canary or judge at a time: calls want the API server and the database, too
UNBOUND = 10_000  # turns where each has a connection to wait for: who had one of both would wait for who has the other
RENEWAL = 2.0  # seconds between renewals of the lease, and between checkpoints
RETENTION = 600.0  # seconds between searches for rollouts to forget
JUDGED = 30.0  # seconds without a look after which a call has its rollout judged again
NOTED = 20_000  # last calls that are kept in memory, by rollout and hook
_MOVES_NOTHING = ("confirm-rollout", "event")
_MODEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_log = logging.getLogger(__name__)
_NOTHING = Measured()
Mint = Callable[[str, Call, Target, GateConfig, float], Rollout]


class Gate:
    """The metrics checker of one rehearsal or cluster. `start` and `stop` frame its background work."""

    def __init__(
        self,
        surroundings: Surroundings,
        store: Store,
        clock: Callable[[], float] = time.time,
        keep: float | None = None,
    ) -> None:
        """`keep` is for how many seconds after their end rollouts are remembered, None for ever."""
        self._surroundings = surroundings
        self._store = store
        self._clock = clock
        self._keep = keep
        self.feedback = Feedback(store, clock)
        self._measurements = Measurements(store)
        self._judging = Judging(store, self._measurements, self.feedback)
        self._turns = Turns(UNBOUND if store.shared else 1)
        self._looks = threading.BoundedSemaphore(LOOKS)
        self._term = "" if store.shared else store.lead()
        self._watcher = Watcher(self.look, self._watched)
        self._canaries = store.canaries()
        self._next_sweep = self._next_renewal = self._next_retention = 0.0
        self._looked: dict[tuple[str, str], float] = {}
        self._judged: dict[tuple[str, str], tuple[str, float]] = {}
        self._noted: dict[tuple[str, str], tuple[object, ...]] = {}
        self._meters: dict[tuple[str, str], Meter] = {}
        self._asking = Asking(store, self._judging, self._resolve, self._judge, clock)

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._asking.stop()
        self._watcher.stop()
        try:
            self._store.yield_lease()
        except ModelpackError as error:
            _log.warning("%s", error)

    @property
    def leading(self) -> bool:
        """Whether it is this gate that watches, asks and judges."""
        return bool(self._term)

    def why_unready(self) -> str:
        """Why Flagger should not ask this gate, "" if it may."""
        return self._surroundings.why_unready() if self._watcher.alive else "the watcher does not run"

    def probing(self, rollout_id: str) -> bool:
        """Whether the golden set is being asked, here or by the gate that watches."""
        if self.leading or not rollout_id:
            return self._asking.under_way(rollout_id)
        rollout = self._store.rollout(rollout_id)
        return rollout is not None and rollout.state == ACTIVE and rollout.decision.verdict == PENDING

    # -- what serves

    def now(self) -> float:
        return self._clock()

    def canaries(self) -> dict[tuple[str, str], str]:
        """The models of all Canaries that ever called, by namespace and name."""
        return self._store.canaries()

    def metrics(self, namespace: str, name: str) -> MetricSource:
        """Where a Canary's counters are; raises ModelpackError."""
        return self._surroundings.source(self._surroundings.resolve(namespace, name), ())

    def serves(self, namespace: str, name: str) -> str:
        """The version that a Canary's primary runs; raises ModelpackError."""
        return self._surroundings.resolve(namespace, name).primary.version

    # -- Flagger's calls

    def answer(self, call: Call, until: float = math.inf) -> Answer:
        """Answer one call, and record it. After `until` (monotonic seconds) nobody waits for it any more."""
        answer = self.decide(call)
        if time.monotonic() > until:
            answer = replace(LATE, rollout=answer.rollout)
        self.note(call, answer)
        return answer

    def decide(self, call: Call) -> Answer:
        """Answer one call, after one look at the target unless the answer moves nothing."""
        try:
            with self._turns.taken():
                rollout = self._recent(call)
            if rollout is None:
                with self._locked(call.namespace, call.name), self._turns.taken():
                    rollout = self._find(call)
                    if call.hook == PROMOTES:  # under the lock: whoever rejects it later hears of it
                        self._store.add_event(rollout.id, self._event(call, _answer(call, rollout)))
            return _answer(call, rollout)
        except ModelpackError as error:
            decision = Decision(HOLD, blanked(str(error)))
            return Answer(200 if HOLD in PASSES[call.hook] else 403, decision)

    def note(self, call: Call, answer: Answer) -> None:
        """Record a call with what it was answered; calls about no known rollout are only logged."""
        try:
            with self._turns.taken():
                self._note(call, answer)
        except ModelpackError as error:
            _log.warning("%s of %s/%s is not recorded: %s", call.hook, call.namespace, call.name, error)

    def _note(self, call: Call, answer: Answer) -> None:
        if answer.rollout:
            said = (call.phase, call.message, answer.status, answer.decision.reason)
            if self._noted.get((answer.rollout, call.hook)) == said:
                return
            self._store.add_event(answer.rollout, self._event(call, answer))
            if len(self._noted) >= NOTED:
                self._noted.clear()
            self._noted[answer.rollout, call.hook] = said
        elif answer.status != 200:
            _log.warning("%s of %s/%s: %s", call.hook, call.namespace, call.name, answer.decision.reason)

    def _event(self, call: Call, answer: Answer) -> Event:
        return Event(self._clock(), call.hook, call.phase, call.message, answer.status, answer.decision.reason)

    def settle(self, rollout_id: str, note: str) -> Rollout | None:
        """Note that Git says what serves again; None if there is no such rollout. A second note replaces the first."""
        return self._change(rollout_id, lambda rollout: replace(rollout, settled=True, settled_note=note))

    def approve(self, rollout_id: str, approval: Approval) -> Rollout | None:
        """Let a person decide; None if there is no such rollout. Raises RefusedError if there is nothing to decide."""

        def decide(rollout: Rollout) -> Rollout:
            calls = [each["answer"] for each in self._store.events(rollout_id) if each["hook"] == PROMOTES]
            asked = self._judging.is_asked(rollout)
            return lifecycle.approve(rollout, approval, asked=asked, confirmed=calls[-1:] == [200])

        decided = self._change(rollout_id, decide)
        if decided is not None:
            status, reason = 200 if approval.approve else 403, decided.decision.reason
            log_verdict(decided)
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
            self._judged.pop((known.namespace, known.name), None)
            return changed

    def _last(self, call: Call) -> Rollout | None:
        """The rollout that a call after its end is about."""
        known = self._store.rollouts(namespace=call.namespace, name=call.name, checksum=call.checksum)
        return known[0] if known else None

    def _recent(self, call: Call) -> Rollout | None:
        """The rollout that a call is about, if its Canary was just looked at, and what is stored lets nothing pass."""
        if time.monotonic() - self._looked.get((call.namespace, call.name), -math.inf) > self._surroundings.recent:
            return None
        rollout = lifecycle.current(self._store.open(call.namespace, call.name))
        if rollout is None or rollout.checksum != call.checksum:
            return None
        passes = lifecycle.decision(rollout).verdict in PASSES[call.hook]
        return None if passes and call.hook not in _MOVES_NOTHING else rollout

    def _resolve(self, namespace: str, name: str) -> Target:
        self._looked.pop((namespace, name), None)
        with self._turns.given_up():
            target = self._surroundings.resolve(namespace, name)
        self._looked[namespace, name] = time.monotonic()
        return target

    def _find(self, call: Call) -> Rollout:
        """The rollout that a call is about, up to date; raises ModelpackError if there is none."""
        target = self._resolve(call.namespace, call.name)
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
        if self.leading:
            self._asking.begin(rollout, target, self._term)
        judged, at = self._judged.get((rollout.namespace, rollout.name), ("", -math.inf))
        meter = self._meters.get((rollout.namespace, rollout.name))
        fresh = judged == rollout.id and 0 <= now - at < JUDGED and not (meter and meter.late(now))
        return self._judge(rollout, target, now) if self.leading and not fresh else rollout

    def _mint(self, call: Call, target: Target, now: float, mint: Mint = lifecycle.mint) -> Rollout:
        files, config = self.read_config(call.namespace, call.model)
        rollout = mint(f"{config.name}-{secrets.token_hex(4)}", call, target, config, now)
        self._store.add(rollout, files)
        return rollout

    def read_config(self, namespace: str, model: str) -> tuple[Mapping[str, bytes], GateConfig]:
        """A model's gate.yaml and the files beside it as they are now, and what they say; raises ModelpackError."""
        if not _MODEL.fullmatch(model):
            raise InputError("the webhook's metadata", f"{model!r} is not a model", "write metadata: {model: NAME}")
        with self._turns.given_up():
            files = self._surroundings.config(namespace, model)
        config = read_files(tuple(sorted(files.items())), model)
        if config.name != model:
            raise InputError(f"{model}/gate.yaml", f"metadata.name is {config.name!r}, not {model!r}")
        return files, config

    def config(self, rollout_id: str) -> GateConfig:
        """The configuration that the rollout was minted with."""
        return self._judging.config(rollout_id)

    def basis(self, rollout: Rollout) -> dict[str, Basis]:
        """What each check's evidence rests on, by its name."""
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
        self._judged[rollout.namespace, rollout.name] = (rollout.id, now)
        return self._judging.judge(rollout, target, meter if meter and meter.rollout == rollout.id else None, now)

    def _locked(self, namespace: str, name: str) -> AbstractContextManager[None]:
        return self._store.locked("canary", namespace, name)

    # -- the background

    def _watched(self) -> set[tuple[str, str]]:
        """The Canaries with an open rollout, and now and then all that ever called: a call may have been missed."""
        now = time.monotonic()
        if now >= self._next_renewal:
            term = self._store.lead()
            if term != self._term:  # another gate may have counted meanwhile
                self._meters.clear()
                self._term = term
            self._next_renewal = now + RENEWAL
            self._store.checkpoint()
        if not self.leading:
            return set()
        if self._keep is not None and now >= self._next_retention:
            more = forget(self._store, self._measurements, self.feedback, self._clock() - self._keep)
            self._next_retention = 0.0 if more else now + RETENTION
        found = self._store.watched()
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP
            self._canaries = self._store.canaries()
            found |= set(self._canaries)
        return found

    def look(self, namespace: str, name: str) -> float | None:
        """One look at a Canary and its counters: the seconds until the next is due, None if it has no open rollout."""
        term = self._term
        if not term:
            return None
        with self._looks, self._locked(namespace, name), self._turns.taken():
            now = self._clock()
            try:
                target = self._resolve(namespace, name)
            except NotFoundError:
                self._forget(namespace, name)
                self._store.save([lifecycle.gone(each, now) for each in self._store.open(namespace, name)], now)
                self._know(namespace, name, "")
                return None
            now = self._clock()
            rollout = lifecycle.current(self._observe(target, now))
            self._catch_up(target, "", now)
            if rollout is None or rollout.state != ACTIVE or target.phase not in ANALYSIS:
                self._forget(namespace, name)
                return None if rollout is None else _pace(target)
            self._asking.begin(rollout, target, term)
            steady = _steady(rollout, target, len(self._store.weights(rollout.id)))
            meter = self._meter(rollout, target, now)
        seen = meter.measure(steady, now, lambda: self._reread(rollout, steady.step)) if meter else _NOTHING
        with self._looks, self._locked(namespace, name), self._turns.taken():
            latest = self._store.rollout(rollout.id)
            if latest and latest.ended is None and latest.state == ACTIVE and self._store.leads(term):
                answered = any(any(each.canary.values()) for gains in seen.gains.values() for each in gains)
                if answered and latest.traffic_started is None:  # strategies without weights
                    latest = replace(latest, traffic_started=now)
                    self._store.save([latest], now)
                self._measurements.add_gains(rollout.id, seen.gains, latest.elapsed(now))
                self._measurements.add_values(rollout.id, seen.values, now)
                self._judge(latest, target, now)
        return _pace(target)

    def _forget(self, namespace: str, name: str) -> None:
        self._asking.forget(namespace, name)
        self._meters.pop((namespace, name), None)
        self._judged.pop((namespace, name), None)

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


def _answer(call: Call, rollout: Rollout) -> Answer:
    decision = lifecycle.decision(rollout)
    return Answer(200 if decision.verdict in PASSES[call.hook] else 403, decision, rollout.id)


def _pace(target: Target) -> float:
    """Seconds between looks."""
    return min(5.0, max(0.25, target.interval / 4))


def _steady(rollout: Rollout, target: Target, step: int) -> Steady:
    return Steady(step, lifecycle.weight(rollout, target), target.canary, target.primary)
