"""The gate at work: takes Flagger's calls, looks at the target, measures, and lets the pure parts decide.

One lock serialises whatever decides or writes, so that no decision is made twice; networks are only spoken to outside
of it, so that no call waits for one.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from modelpack.errors import InputError, ModelpackError, NotFoundError, RemoteError
from modelpack.gate import probe
from modelpack.gate import rollouts as lifecycle
from modelpack.gate.checks import Comparison, Evidence, Golden, Window
from modelpack.gate.config import GateConfig, parse
from modelpack.gate.meter import Meter
from modelpack.gate.rollouts import ACTIVE, ANALYSIS, MINTING_HOOKS, Call, Rollout
from modelpack.gate.store import Event, Store
from modelpack.gate.target import Target, TargetFile
from modelpack.gate.verdict import HOLD, PASSES, PENDING, Decision, combine

LOCK_TIMEOUT = 4.0  # Flagger waits for 10 s
PATIENCE = 3  # intervals without a request to the canary before that is a reason to hold
LEAST_PATIENCE = 3.0  # seconds
IDLE = 0.5  # seconds between looks while there is nothing to measure
GOLDEN_PAUSE = 5.0  # seconds before a golden set that ended in hold is asked again, at least
CONFIGS = 200  # parsed configurations that are kept
_MODEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_log = logging.getLogger(__name__)
_parse = lru_cache(maxsize=8)(parse)  # many rollouts are judged by the same files


@dataclass(frozen=True)
class Answer:
    """What Flagger gets: 200 or 403, the reason, and which rollout it was about ("" for none)."""

    status: int
    decision: Decision
    rollout: str = ""


class Gate:
    """The metrics checker of one rehearsal folder. `start` and `stop` frame its background work."""

    def __init__(self, folder: Path, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._models = folder / "models"
        self._target = TargetFile(folder / "target.json")
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="watcher")
        self._configs: dict[str, GateConfig] = {}
        self._meters: dict[str, Meter] = {}
        self._probing: set[str] = set()
        self._probed: dict[str, float] = {}

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._watcher.is_alive():
            self._watcher.join(LOCK_TIMEOUT)

    @property
    def alive(self) -> bool:
        return self._watcher.is_alive() and not self._stopped.is_set()

    def probing(self, rollout_id: str) -> bool:
        """Whether the golden set is being asked."""
        return rollout_id in self._probing

    # -- Flagger's calls

    def decide(self, call: Call) -> Answer:
        """Answer one call. Never waits for a network, and for other calls at most `LOCK_TIMEOUT` seconds."""
        rollout_id = ""
        try:
            with self._locked():
                rollout = self._find(call)
                rollout_id = rollout.id
                decision = lifecycle.decision(rollout)
        except ModelpackError as error:
            decision = Decision(HOLD, "".join(each if each.isprintable() else " " for each in str(error)))
        return Answer(200 if decision.verdict in PASSES[call.hook] else 403, decision, rollout_id)

    def note(self, call: Call, answer: Answer) -> None:
        """Record a call with what it was answered; calls about no known rollout are only logged."""
        try:
            self._note(call, answer)
        except ModelpackError as error:
            _log.warning("%s of %s/%s is not recorded: %s", call.hook, call.namespace, call.name, error)

    def _note(self, call: Call, answer: Answer) -> None:
        with self._locked():
            if answer.rollout:
                reason = answer.decision.reason
                event = Event(self._clock(), call.hook, call.phase, call.message, answer.status, reason)
                self._store.add_event(answer.rollout, event)
            elif answer.status != 200:
                _log.warning("%s of %s/%s: %s", call.hook, call.namespace, call.name, answer.decision.reason)

    def settle(self, rollout_id: str, note: str) -> Rollout | None:
        """Note that Git says what serves again; None if there is no such rollout. A second note replaces the first."""
        with self._locked():
            rollout = self._store.rollout(rollout_id)
            if rollout is None:
                return None
            settled = replace(rollout, settled=True, settled_note=note)
            self._store.save([settled], self._clock())
            return settled

    def _last(self, call: Call) -> Rollout | None:
        """The rollout that a call after its end is about."""
        known = self._store.rollouts(namespace=call.namespace, name=call.name, checksum=call.checksum)
        return known[0] if known else None

    def _find(self, call: Call) -> Rollout:
        """The rollout that a call is about, up to date; raises ModelpackError if there is none."""
        now = self._clock()
        target = self._target.resolve(call.namespace, call.name)
        still_open = self._observe(target, now)
        if call.hook == "post-rollout" and call.phase in lifecycle.ENDS:
            ended = [
                lifecycle.end(each, target, call.phase, now) for each in still_open if each.checksum == call.checksum
            ]
            self._store.save(ended, now)
            if ended:
                return ended[0]
        binding = lifecycle.bind(call, still_open, target, now)
        self._store.save(binding.changed, now)
        rollout = self._mint(call, target, now) if binding.mint else binding.rollout
        if rollout is None and call.hook not in MINTING_HOOKS:
            rollout = self._last(call)
        if rollout is None:
            raise NotFoundError(f"{call.namespace}/{call.name}", binding.reason)
        self._ask_golden(rollout, target)
        return self._judge(rollout, target, now)

    def _mint(self, call: Call, target: Target, now: float) -> Rollout:
        gate, golden, config = self.read_config(call.model)
        rollout = lifecycle.mint(f"{config.name}-{secrets.token_hex(4)}", call, target, config, now)
        self._store.add(rollout, gate, golden)
        return rollout

    def read_config(self, model: str) -> tuple[bytes, bytes | None, GateConfig]:
        """A model's gate.yaml and golden set as they are now, and what they say; raises ModelpackError."""
        if not _MODEL.fullmatch(model):
            raise InputError("the webhook's metadata", f"{model!r} is not a model", "write metadata: {model: NAME}")
        folder = self._models / model
        try:
            gate = (folder / "gate.yaml").read_bytes()
            golden = (folder / "golden.jsonl").read_bytes() if (folder / "golden.jsonl").exists() else None
        except FileNotFoundError as error:
            raise NotFoundError(f"{model}/gate.yaml", "there is no such file") from error
        except OSError as error:
            raise RemoteError(f"{model}/gate.yaml", f"cannot be read: {error.strerror}") from error
        config = parse(gate, f"{model}/gate.yaml", golden, f"{model}/golden.jsonl")
        if config.name != model:
            raise InputError(f"{model}/gate.yaml", f"metadata.name is {config.name!r}, not {model!r}")
        return gate, golden, config

    def config(self, rollout_id: str) -> GateConfig:
        """The configuration that the rollout was minted with."""
        config = self._configs.get(rollout_id)
        if config is None:
            gate, golden = self._store.config(rollout_id)
            while len(self._configs) >= CONFIGS:
                self._configs.pop(next(iter(self._configs)), None)
            config = self._configs[rollout_id] = _parse(gate, "gate.yaml", golden, "golden.jsonl")
        return config

    def _observe(self, target: Target, now: float) -> list[Rollout]:
        """This Canary's rollouts that have not ended, after a look at the target."""
        before = self._store.open(target.namespace, target.name)
        after = lifecycle.observe(before, target, now)
        self._store.save([new for old, new in zip(before, after, strict=True) if old != new], now)
        return [each for each in after if each.ended is None]

    def _judge(self, rollout: Rollout, target: Target, now: float) -> Rollout:
        """The rollout with the verdict that all evidence gives now."""
        if rollout.state != ACTIVE or rollout.ended is not None:
            return rollout
        config = self.config(rollout.id)
        known = self._store.evidence(rollout.id)
        found = dict(known)
        for check in config.checks:
            if isinstance(check, Comparison):
                found[check.name] = check.evaluate(self._window(rollout, check, config, target, now))
            elif check.name not in found:
                found[check.name] = check.evaluate(Window())
        if found != known:
            self._store.add_evidence(rollout, found, now)
        given = [(check.name, found[check.name].verdict, found[check.name].reason) for check in config.checks]
        under_traffic = rollout.under_traffic(now)
        verdict = combine(rollout.decision, given, under_traffic=under_traffic, horizon=rollout.horizon)
        judged = replace(rollout, decision=verdict)
        if judged != rollout:
            self._store.save([judged], now)
        return judged

    def _window(self, rollout: Rollout, check: Comparison, config: GateConfig, target: Target, now: float) -> Window:
        meter = self._meters.get(rollout.id)
        unreachable = meter.unreachable or meter.wrong.get(check.name, "") if meter else ""
        return Window(
            strata=self._store.strata(rollout.id, check.name),
            alpha=config.alpha_of(check),
            silent=min(meter.silent(check, now), rollout.under_traffic(now)) if meter else 0.0,
            patience=max(LEAST_PATIENCE, PATIENCE * target.interval),
            rollback=rollout.rollback,
            unreachable=unreachable if rollout.traffic_started is not None else "",
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=LOCK_TIMEOUT):
            raise RemoteError("the gate", "is busy")
        try:
            yield
        finally:
            self._lock.release()

    # -- the background

    def _watch(self) -> None:
        while not self._stopped.is_set():
            pause = IDLE
            try:
                pause = self.look()
            except ModelpackError as error:
                _log.debug("%s", error)
            except Exception:
                _log.exception("the watcher goes on after a bug")
            self._stopped.wait(pause)

    def look(self) -> float:
        """One look at target and counters; the seconds until the next one is due."""
        target = self._target.read()
        now = self._clock()
        with self._locked():
            rollout = lifecycle.current(self._observe(target, now))
            if rollout is None or rollout.state != ACTIVE or target.phase not in ANALYSIS:
                self._meters.clear()
                return IDLE
            self._ask_golden(rollout, target)
            config = self.config(rollout.id)
        counts = {}
        if config.comparisons:
            meter = self._meters.get(rollout.id)
            if meter is None or meter.address != target.metrics:
                self._meters = {rollout.id: (meter := Meter(target, config.comparisons, now))}
            counts = meter.measure(target, lambda: self._target.resolve(target.namespace, target.name), now)
        with self._locked():
            latest = self._store.rollout(rollout.id)
            if latest and latest.ended is None and latest.state == ACTIVE:
                step = len(self._store.weights(rollout.id))
                for name, stratum in counts.items():
                    if stratum.canary_total or stratum.primary_total:
                        self._store.add_counts(rollout.id, name, replace(stratum, step=step))
                    if stratum.canary_total and latest.traffic_started is None:  # strategies without weights
                        latest = replace(latest, traffic_started=now)
                self._judge(latest, target, now)
        return min(5.0, max(0.25, target.interval / 4))

    def _ask_golden(self, rollout: Rollout, target: Target) -> None:
        """Start asking the golden set, if that is still to be done. Called under the lock."""
        check = self.config(rollout.id).golden
        if check is None or rollout.state != ACTIVE or rollout.id in self._probing or rollout.decision.final:
            return
        if not (target.canary.url and target.primary.url):
            return  # not started yet
        known = self._store.evidence(rollout.id).get(check.name)
        if known and known.verdict != PENDING:
            pause = max(GOLDEN_PAUSE, 5 * target.interval)
            if known.verdict != HOLD or self._clock() - self._probed.get(rollout.id, 0.0) < pause:
                return
        self._probing.add(rollout.id)
        threading.Thread(target=self._golden, args=(rollout, check, target), daemon=True, name="golden").start()

    def _golden(self, rollout: Rollout, check: Golden, target: Target) -> None:
        try:
            pairs = probe.ask(check, target, self._stopped.is_set)
            if self._stopped.is_set():
                return
            evidence: Evidence = check.evaluate(Window(pairs=pairs, rollback=rollout.rollback))
            after = self._target.resolve(target.namespace, target.name)
            with self._locked():
                if (after.canary, after.primary) == (target.canary, target.primary):
                    self._store.add_evidence(rollout, {check.name: evidence}, self._clock())
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
