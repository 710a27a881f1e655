"""What a ModelSync asks for now: one run where one is needed, no second one beside it, old ones removed. Pure.

Everything that has to outlive the operator stands in the object's status, above all `lastRun`: a run's number is
claimed there, against the version of the object that was read, before the run is created. Who was killed between the
two creates the very same run the next time; who decided beside somebody else loses the claim.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from modelpack.errors import InputError
from modelpack.reconcile.answer import Answer, Failure, mapped
from modelpack.reconcile.modelsync import Json, ModelSync, Run, Spec, State
from modelpack.reconcile.pipeline_run import API_VERSION, build, name_of
from modelpack.rollout.observed import unix_time

GRACE = 10.0  # seconds in which somebody else's claim may become a run that is seen here
FIRST_RETRY, LAST_RETRY = 60.0, 3600.0  # seconds after a run that did not end the need, doubled each time
_CLOCK = 60.0  # seconds that clocks may differ; a time further ahead was written before a clock was set back
_FOREVER = float("inf")
STUCK = "BackoffLimitExceeded"
READY, SYNCED, SYNCING = "Ready", "Synced", "Syncing"
_OF_AN_END = {State.SUCCEEDED: "RunSucceeded", State.FAILED: "RunFailed", State.LOST: "RunLost"}


@dataclass(frozen=True)
class Record:
    """The newest run, as status.lastRun keeps it. `settled`: needsSync was content after it."""

    name: str = ""
    number: int = 0
    attempt: int = 0
    digest: str = ""
    generation: int = 0
    state: State = State.LOST
    claimed: float = 0.0
    finished: float = 0.0
    settled: bool = True


@dataclass(frozen=True)
class Decision:
    """What to do, in this order: write `status` (a merge patch, None if nothing changed), create `create`, delete
    `remove`. `ask`: needsSync has to be asked before more can be said. `wait`: seconds until time alone changes it."""

    status: Json | None = None
    create: Json | None = None
    remove: tuple[Run, ...] = ()
    ask: bool = False
    wait: float = _FOREVER


def decide(sync: ModelSync, runs: Collection[Run], answer: Answer | Failure | None, now: float) -> Decision:
    """`runs` are all that it owns, `answer` what needsSync just said, None if it was not asked; `now` is unix time."""
    if sync.deleting:  # its runs go with it
        return Decision()
    last = _newest(_record(sync.status), runs, now)
    draft = _Draft(sync, now)
    active = sorted((each for each in runs if each.state is State.RUNNING), key=lambda each: each.number)
    if sync.spec is None:
        draft.set(READY, "False", "InvalidSpec", sync.problem)
        return Decision(draft.status(active, last, runs))
    create, ask, wait = None, False, _FOREVER
    if active:
        draft.set(SYNCING, "True", "RunActive", f"{active[-1].name} goes on")
        draft.lift("CreateFailed", "InvalidSpec")
    elif last.state is State.PENDING and not _elapsed(last.claimed, now, GRACE) and not isinstance(answer, Failure):
        wait = GRACE
    elif sync.spec.suspend:
        draft.set(READY, "True", "Suspended", "it is suspended: nobody is asked, nothing is started")
    elif answer is None:
        ask = True
        draft.lift("InvalidSpec", "Suspended")
    elif isinstance(answer, Failure):
        draft.set(READY, "False", answer.reason, answer.message)
    else:
        last, create, wait = _answered(sync, sync.spec, draft, last, answer, now)
    if not active:
        _say_end(draft, last)
    return Decision(draft.status(active, last, runs), create, _beyond(sync.spec, runs), ask, wait)


def retry_after(attempt: int) -> float:
    """Seconds between the end of an attempt that did not end the need and the next one."""
    return min(FIRST_RETRY * 2.0 ** (max(attempt, 1) - 1), LAST_RETRY)


def _answered(
    sync: ModelSync, spec: Spec, draft: _Draft, last: Record, answer: Answer, now: float
) -> tuple[Record, Json | None, float]:
    """The record, the run to create, and how long to wait. Draws conditions on the way."""
    if not answer.needed:
        draft.set(READY, "True", "Asked", "needsSync answers")
        draft.set(SYNCED, "True", "UpToDate", "needsSync says that no run is needed")
        state = State.LOST if last.state is State.PENDING else last.state  # a claim that nobody needs any more
        return replace(last, state=state, settled=True), None, _FOREVER
    try:
        parameters, digest = mapped(spec, answer)
    except InputError as error:
        draft.set(READY, "False", "IncompleteAnswer", str(error))
        draft.set(SYNCED, "False", "NeedsSync", "needsSync says that a run is needed")
        return last, None, _FOREVER
    held = _held(sync, spec, last, digest, now)
    if held:
        reason, said, wait = held
        stuck = reason == STUCK
        draft.set(
            READY, "False" if stuck else "True", reason if stuck else "Asked", said if stuck else "needsSync answers"
        )
        draft.set(SYNCED, "False", reason, said)
        return last, None, wait
    if not draft.has(READY, "CreateFailed"):  # until the run is seen
        draft.set(READY, "True", "Asked", "needsSync answers")
    draft.set(SYNCED, "False", "NeedsSync", "needsSync says that a run is needed")
    claim = last
    if not (last.state is State.PENDING and (last.digest, last.generation) == (digest, sync.generation)):
        number = last.number + (last.state is not State.PENDING)
        again = not last.settled and last.generation == sync.generation
        attempt = last.attempt + (last.state is not State.PENDING) if again else 1
        claim = Record(
            name_of(sync, number), number, attempt, digest, sync.generation, State.PENDING, now, 0.0, settled=False
        )
    return claim, build(sync, claim.number, claim.attempt, digest, parameters), GRACE


def _held(sync: ModelSync, spec: Spec, last: Record, digest: str, now: float) -> tuple[str, str, float] | None:
    """What holds back the next run, as a reason, a sentence and seconds; None if nothing does.

    Other parameters are held back for a while too: a service that says something new each time would start run upon
    run. A changed spec is a new beginning.
    """
    if last.state is State.PENDING or last.settled or last.generation != sync.generation:
        return None
    same, failed = last.digest == digest, last.state is not State.SUCCEEDED
    if same and failed and last.attempt > spec.backoff_limit:
        said = f"attempt {last.attempt}, {last.name}, failed as the others: change the spec to try again"
        return STUCK, said, _FOREVER
    rest = spec.repeat_after if same and not failed else retry_after(last.attempt)
    if _elapsed(last.finished, now, rest):
        return None
    wait = max(last.finished + rest - now, 1.0)
    if failed:
        return "BackingOff", f"{last.name} failed; the next one waits", wait
    if same:
        said = f"{last.name} succeeded with the same parameters and needsSync still asks for a run"
        return "Waiting", f"{said}: it is not repeated before repeatAfter is over", wait
    return "Waiting", f"{last.name} succeeded and needsSync asks for another run: that waits a while", wait


def _say_end(draft: _Draft, last: Record) -> None:
    if last.state is State.PENDING:
        draft.set(SYNCING, "True", "Starting", f"{last.name} is being created")
    elif not last.number:
        draft.set(SYNCING, "False", "NoRun", "there was no run yet")
    else:
        said = {State.SUCCEEDED: "succeeded", State.FAILED: "failed"}.get(last.state, "is gone")
        draft.set(SYNCING, "False", _OF_AN_END.get(last.state, "NoRun"), f"{last.name} {said}")


# -- runs


def _record(status: Json) -> Record:
    found = status.get("lastRun") or {}
    try:
        return Record(
            name=str(found["name"]),
            number=int(found["number"]),
            attempt=int(found["attempt"]),
            digest=str(found["parameters"]),
            generation=int(found["generation"]),
            state=State(found["state"]),
            claimed=unix_time(found.get("claimTime")),
            finished=unix_time(found.get("completionTime")),
            settled=found.get("settled") is True,
        )
    except (KeyError, TypeError, ValueError):
        return Record()


def _newest(record: Record, runs: Collection[Run], now: float) -> Record:
    """The record, told what became of its run; or a later run that it does not know."""
    newest = max(runs, key=lambda each: each.number, default=None)
    if newest and newest.number and newest.number >= record.number:
        known = newest.number == record.number
        ended = newest.state is not State.RUNNING
        return Record(
            name=newest.name,
            number=newest.number,
            attempt=newest.attempt,
            digest=newest.digest,
            generation=newest.generation,
            state=newest.state,
            claimed=record.claimed if known else newest.created,
            finished=(newest.finished or record.finished or now) if ended else 0.0,
            settled=known and record.settled,
        )
    if record.state is State.RUNNING:
        return replace(record, state=State.LOST, finished=now)
    return record


def _beyond(spec: Spec, runs: Collection[Run]) -> tuple[Run, ...]:
    """The oldest ended ones, beyond what is to be kept of each kind."""
    found: list[Run] = []
    for state, keep in ((State.SUCCEEDED, spec.keep_succeeded), (State.FAILED, spec.keep_failed)):
        ended = sorted((each for each in runs if each.state is state), key=_age)
        found += ended[: max(len(ended) - keep, 0)]
    return tuple(each for each in found if not each.deleting)


def _age(run: Run) -> tuple[float, int, str]:
    return (run.created, run.number, run.name)


def _elapsed(since: float, now: float, seconds: float) -> bool:
    return now - since >= seconds or since - now > _CLOCK


# -- status


class _Draft:
    """The status that is to be, beside the one that is."""

    def __init__(self, sync: ModelSync, now: float) -> None:
        self._sync, self._now = sync, now
        found = sync.status.get("conditions")
        self._conditions: dict[str, dict[str, Any]] = {
            str(each.get("type")): dict(each) for each in (found if isinstance(found, list) else ())
        }
        for kind in (READY, SYNCED):
            if kind not in self._conditions:
                self.set(kind, "Unknown", "NotAsked", "needsSync was not asked yet")

    def has(self, kind: str, reason: str) -> bool:
        return bool(self._conditions[kind].get("reason") == reason)

    def lift(self, *reasons: str) -> None:
        """Ready does not stand for these any more."""
        if any(self.has(READY, each) for each in reasons):
            self.set(READY, "Unknown", "NotAsked", "needsSync was not asked since")

    def set(self, kind: str, status: str, reason: str, message: str) -> None:
        before = self._conditions.get(kind, {})
        since = before.get("lastTransitionTime") if before.get("status") == status else None
        self._conditions[kind] = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since or rfc3339(self._now),
            "observedGeneration": self._sync.generation,
        }

    def status(self, active: Sequence[Run], last: Record, runs: Collection[Run]) -> Json | None:
        """A merge patch of the status, None if it would change nothing."""
        before = self._sync.status
        wanted: dict[str, Any] = {
            "observedGeneration": self._sync.generation,
            "conditions": [self._conditions[each] for each in sorted(self._conditions)],
            "active": [_reference(self._sync, each) for each in active] or None,
            "lastRun": _shown(last, before.get("lastRun")),
            "lastSyncTime": _later(before.get("lastSyncTime"), _last_sync(last, runs)),
        }
        changed = {key: value for key, value in wanted.items() if before.get(key) != value}
        if isinstance(run := changed.get("lastRun"), dict):  # a merge keeps what is not named
            changed["lastRun"] = {**dict.fromkeys(before.get("lastRun") or {}), **run}
        return changed or None


def _reference(sync: ModelSync, run: Run) -> dict[str, str]:
    return {
        "apiVersion": API_VERSION,
        "kind": "PipelineRun",
        "namespace": sync.namespace,
        "name": run.name,
        "uid": run.uid,
    }


def _shown(last: Record, before: object) -> Mapping[str, Any] | None:
    if not last.number:
        return before if isinstance(before, Mapping) else None
    shown: dict[str, Any] = {
        "name": last.name,
        "number": last.number,
        "attempt": last.attempt,
        "parameters": last.digest,
        "generation": last.generation,
        "state": last.state.value,
        "settled": last.settled,
    }
    times = {"claimTime": last.claimed, "completionTime": last.finished}
    return shown | {key: rfc3339(value) for key, value in times.items() if value}


def _last_sync(last: Record, runs: Collection[Run]) -> float:
    ended = [each.finished for each in runs if each.state is State.SUCCEEDED]
    return max([*ended, last.finished if last.state is State.SUCCEEDED else 0.0])


def _later(before: object, then: float) -> str | None:
    """The time of the last success does not go back when its run is removed."""
    return rfc3339(max(unix_time(before), then)) if max(unix_time(before), then) else None


def rfc3339(seconds: float) -> str:
    """As Kubernetes writes times: whole seconds, UTC."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
