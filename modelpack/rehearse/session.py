"""Carries a rollout through: ticks at the Canary's interval, and does what each tick says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from types import TracebackType

from modelpack.errors import RemoteError
from modelpack.reference import Reference
from modelpack.rehearse.envoy import Envoy
from modelpack.rehearse.gate import Gate, start_gate
from modelpack.rehearse.hooks import Hooks, is_for_gate
from modelpack.rehearse.outcome import Moment, Outcome, Result
from modelpack.rehearse.plan import Plan
from modelpack.rehearse.processes import Processes
from modelpack.rehearse.revision import Export, Revision, Unpack, load, prepare
from modelpack.rehearse.server import Server, await_ready, start_server
from modelpack.rehearse.state import State
from modelpack.rehearse.tick import Call, Event, Promote, Route, Save, Scale, Seen, Step, tick
from modelpack.rehearse.traffic import Request, Summary, Traffic, checks_of
from modelpack.rehearse.truths import Truths
from modelpack.rollout import Phase, Status
from modelpack.token import TOKEN

_LOOK_SECONDS = 0.1  # how often processes are looked at between ticks
_START_SECONDS = 30.0  # a server starts no faster with --speed


@dataclass(frozen=True)
class Settings:
    """How a rehearsal is run. `rate` is requests per second, `speed` divides intervals, `timeout` is in seconds.

    `gate` is the address of a running gate, "" for one of its own. What was true of a request is told to it
    `labels_after` seconds after the answer, divided by `speed`, where the request says what is expected.
    """

    requests: tuple[Request, ...] = ()
    rate: float = 50.0
    speed: float = 1.0
    timeout: float = 1800.0
    gate: str = ""
    labels_after: float = 10.0


class Rehearsal:
    """One rehearsal of a plan on a state folder. As a context it holds the folder, and leaves no process behind.

    `image` is the plan's image with its digest; `commit` the repository's tip. `watch` is told what happens, `check` is
    called every now and then and may raise to end it.
    """

    def __init__(
        self,
        plan: Plan,
        image: Reference,
        commit: str,
        state: State,
        settings: Settings,
        *,
        unpack: Unpack,
        export: Export,
        watch: Callable[[Moment], None] = lambda moment: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.gate: Gate | None = None
        self._plan, self._image, self._commit = plan, image, commit
        self._state, self._settings = state, settings
        self._unpack, self._export = unpack, export
        self._watch, self._interrupted = watch, check
        self._processes = Processes()
        mirror = bool(checks_of(plan.gate, "shadow"))
        self._envoy = Envoy(plan.canary, state.folder / "envoy", state.logs / "envoy.log", mirror=mirror)
        self._hooks = Hooks(plan.canary, settings.gate, settings.speed)
        self._stack = ExitStack()
        self._started = time.monotonic()
        self._moments: list[Moment] = []
        self._reason = ""  # why the last webhook refused
        self._asked = False  # a person was told how to approve
        self._primary: Server | None = None
        self._canary: Server | None = None
        self._successor: Server | None = None  # replaces the primary once it is ready
        self._retiring: Server | None = None  # has until the next tick to finish its requests

    def __enter__(self) -> Rehearsal:
        self._stack.enter_context(self._state)
        try:
            self._stack.enter_context(self._processes)
            self._cluster = self._state.load().recovered()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def status(self) -> Status:
        return self._cluster.status

    def run(self) -> Outcome:
        """Rehearse to the end. Raises RemoteError if a process ends by itself or never gets ready."""
        files = {"gate.yaml": self._plan.gate, "golden.jsonl": self._plan.golden, **self._plan.others}
        self._state.write_model(self._plan.definition.name, files)
        status = self.status
        if status.phase is Phase.INITIALIZING:
            return self._initialise()
        if status.changed(self._plan.hash):
            return self._roll_out()
        failed = status.phase is Phase.FAILED and self._plan.hash != status.last_promoted
        self._tick(Seen(self._plan.hash, 0))
        if failed:
            self._start_gate()
        return self._outcome(Result.FAILED_BEFORE if failed else Result.UNCHANGED)

    # --- the three courses

    def _initialise(self) -> Outcome:
        self._primary = self._start("primary", self._prepare())
        await_ready(self._primary, self._check)
        self._cluster = replace(self._cluster, primary=self._plan.hash)
        self._tick(Seen(self._plan.hash, 0))
        self._state.forget_revisions(self._plan.hash)
        return self._outcome(Result.INITIALIZED)

    def _roll_out(self) -> Outcome:
        self._revision = self._prepare()
        self._envoy.start(self._processes)
        self._start_gate()  # before the servers, which are told where it is
        self._primary = self._start("primary", load(self._cluster.primary, self._state.revisions))
        await_ready(self._primary, self._check)
        self._envoy.serve("primary", self._primary.port)
        self._tell()
        self._note(f"Traffic goes through {self._envoy.address}")
        with ExitStack() as stack:
            learn = None
            if self.gate is not None:
                after = self._settings.labels_after / self._settings.speed
                learn = stack.enter_context(Truths(self.gate, self._plan.definition.name, after)).learn
            traffic = Traffic(self._envoy.address, self._settings.requests, self._settings.rate, learn)
            stack.enter_context(traffic)
            result = self._walk()
            traffic.stop()
        if self.status.phase.settled:
            self._state.forget_revisions(self._cluster.primary)
        return self._outcome(result, traffic.summary())

    def _walk(self) -> Result:
        interval = self._plan.canary.interval / self._settings.speed
        due = time.monotonic()
        while True:
            before, seen = self.status.phase, self._look()
            # after a failure Flagger notes the template even if the primary is not ready, and then never starts the run
            if before is not Phase.FAILED or not seen.primary:
                self._tick(seen)
            if self.status.phase.settled and not before.settled:
                return Result.PROMOTED if self.status.phase is Phase.SUCCEEDED else Result.ROLLED_BACK
            judged = self._judged() or {}
            if judged.get("verdict") == "hold":
                if judged.get("final"):
                    return Result.HELD
                self._say_who_decides(str(judged.get("id")))
            due = max(due + interval, time.monotonic())
            while time.monotonic() < due:
                if time.monotonic() - self._started > self._settings.timeout:
                    return Result.TIMED_OUT
                self._check()
                time.sleep(max(0.0, min(_LOOK_SECONDS, due - time.monotonic())))

    # --- ticks

    def _look(self) -> Seen:
        """Read the state of the world, and let the primary's successor take over once it is ready."""
        if self._retiring is not None:
            self._processes.end(self._retiring.process)
            self._retiring = None
        if self._successor is not None and not self._successor.why_unready():
            self._envoy.serve("primary", self._successor.port)
            self._primary, self._retiring, self._successor = self._successor, self._primary, None
        primary = self._successor or self._primary
        return Seen(
            template=self._plan.hash,
            weight=self._envoy.weight,
            primary=primary.why_unready() if primary else "it is not running",
            canary=self._canary.why_unready() if self._canary else "it is not running",
        )

    def _tick(self, seen: Seen) -> None:
        steps = tick(self._plan.canary, self.status, seen)
        passed = False
        try:
            step = next(steps)
            while True:
                passed = self._do(step)
                step = steps.send(passed)
        except StopIteration:
            return

    def _do(self, step: Step) -> bool:
        if isinstance(step, Call):
            passed, said = self._hooks.ask(step)
            self._reason = "" if passed else said
            return passed
        if isinstance(step, Event):
            self._note(step.message, step)
            self._hooks.tell(step)
        elif isinstance(step, Save):
            before, self._cluster = self.status.phase, replace(self._cluster, status=step.status)
            self._state.save(self._cluster)
            self._tell()
            if before is not step.status.phase:
                self._note(f"{before.value} -> {step.status.phase.value}")
        elif isinstance(step, Route):
            self._envoy.route(step.weight)
            self._tell()
        elif isinstance(step, Scale):
            self._scale(step.up)
        elif isinstance(step, Promote):
            self._successor = self._start("primary-promoted", self._revision)
            self._cluster = replace(self._cluster, primary=self._revision.hash)
        return False

    def _scale(self, up: bool) -> None:
        if up:
            self._canary = self._start("canary", self._revision)
            self._envoy.serve("canary", self._canary.port)
        elif self._canary is not None:
            self._envoy.drain("canary")
            self._envoy.serve("canary", None)
            self._processes.end(self._canary.process)
            self._canary = None
        self._tell()

    # --- what the steps need

    def _check(self) -> None:
        self._interrupted()
        self._processes.check()

    def _prepare(self) -> Revision:
        serves = self._plan.hash == self._cluster.primary
        return prepare(
            self._plan, self._image, self._state.revisions, self._unpack, self._export, serves=serves
        )  # fmt: skip

    def _start(self, name: str, revision: Revision) -> Server:
        whole = self._plan.canary.deadline
        deadline = min(whole, max(_START_SECONDS, whole / self._settings.speed))
        gate = self.gate.address if self.gate else ""
        return start_server(name, revision, self._processes, self._state, deadline, gate)

    def _start_gate(self) -> None:
        if self._settings.gate:
            self.gate = Gate(self._settings.gate)
        elif any(map(is_for_gate, self._plan.canary.webhooks)):
            self._tell()
            self.gate = start_gate(self._processes, self._state)
            self._hooks.gate = self.gate.address
        if self.gate is not None:
            self._note(f"The gate's page is {self.gate.address}/")
            if refused := self.gate.check(self._plan.definition.name):
                self._note(f"The gate does not say what it decides ({refused}): put its token into ${TOKEN}")

    def _judged(self) -> dict[str, object] | None:
        """What the gate has on this run; None from one that does not answer, as that decides nothing."""
        if self.gate is not None:
            with suppress(RemoteError):
                return self.gate.rollout(self._plan.canary.namespace, self._plan.canary.name, self.status.checksum)
        return None

    def _say_who_decides(self, rollout: str) -> None:
        """Once: how to give the approval that a check waits for, and until when."""
        if self.gate is None or self._asked:
            return
        with suppress(RemoteError):
            for check in self.gate.details(rollout).get("checks", ()):
                if (check.get("type"), check.get("verdict")) == ("approval", "hold"):
                    self._asked = True
                    left = self._settings.timeout - (time.monotonic() - self._started)
                    by = "" if self._settings.gate and os.environ.get(TOKEN) else " --by NAME"
                    how = f"modelpack gate approve {rollout} --gate {self.gate.address}{by}"
                    self._note(f"Waits {max(0.0, left):.0f} s for an approval ({check['name']}): {how}")
                    return

    def _primary_image(self) -> str:
        server = self._successor or self._primary
        return server.revision.image if server else load(self._cluster.primary, self._state.revisions).image

    def _tell(self) -> None:
        self._state.write_target(
            {
                "namespace": self._plan.canary.namespace,
                "name": self._plan.canary.name,
                "phase": self.status.phase.value,
                "weight": self._envoy.weight,
                "last_applied": self.status.last_applied,
                "canary": {"url": self._canary.url if self._canary else "", "image": str(self._image)},
                "primary": {"url": self._primary.url if self._primary else "", "image": self._primary_image()},
                "metrics": self._envoy.metrics,
                "interval": self._plan.canary.interval / self._settings.speed,
                "speed": self._settings.speed,
                "steps": self._plan.canary.steps,
                "iterations": self._plan.canary.iterations,
                "threshold": self._plan.canary.threshold,
                "gate": self.gate.address if self.gate else "",
                "rollback": self._plan.goes_back_to(self._image),
            }
        )

    def _note(self, message: str, event: Event | None = None) -> None:
        warning, reason = (event.warning, self._reason) if event else (False, "")
        self._reason = self._reason if event is None else ""
        seconds = time.monotonic() - self._started
        moment = Moment(seconds, self.status, self._envoy.weight, message, warning, reason, event is not None)
        self._moments.append(moment)
        self._watch(moment)

    def _outcome(self, result: Result, traffic: Summary | None = None) -> Outcome:
        return Outcome(
            result=result,
            namespace=self._plan.canary.namespace,
            name=self._plan.canary.name,
            model=self._plan.definition.name,
            commit=self._commit,
            image=str(self._image),
            primary_image=self._primary_image(),
            status=self.status,
            moments=tuple(self._moments),
            traffic=traffic or Summary(0, 0, {}, 0.0),
            seconds=time.monotonic() - self._started,
            rollout=self._judged(),
        )
