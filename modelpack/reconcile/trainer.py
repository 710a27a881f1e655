"""When a model is trained anew: pure, from what Git, the registry, the gate and this reconciler's memory say.

One run of a model at a time, and one for each cause. What was tried and did not pass is not tried again before data,
code or parameters change (parameters are part of the code's version), or what it was held against, or the gate signals
something newer. What Git names by now is not made again of its own data and code. The registry alone is enough to
decide: what the memory adds is runs under way, those that failed, and those that ended before they made a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from modelpack.definition import order
from modelpack.reconcile.deployer import Outdated
from modelpack.training.definition import Stale
from modelpack.training.identity import next_version, run_id
from modelpack.training.run import State as RunState

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
"""Seconds between attempts at the same: doubled each time."""
TRAIN = "train"
"""The kind of a run that makes a version."""
MOST_ATTEMPTS = 11  # training.yaml's retries end at 10


class Action(Enum):
    """What is to be done about a model's training."""

    NOTHING = "nothing"
    WAIT = "waiting"  # something is under way, or about to be
    HOLD = "held"  # it failed, and the same would fail again
    START = "started"


@dataclass(frozen=True)
class Record:
    """A run that came to an end, passed or not. `ended` is in unix seconds, `run` its id; `rejected`: what it made was
    rejected since, and counts as not passed; `rules` is the version of what it was held against (checks, tests,
    quality), "" where that is not known, `commit` what it was started from."""

    version: str
    data: str
    code: str
    passed: bool
    ended: float
    run: str = ""
    rejected: bool = False
    commit: str = ""
    rules: str = ""

    @property
    def good(self) -> bool:
        return self.passed and not self.rejected


@dataclass(frozen=True)
class Attempt:
    """A run that this reconciler started, as it remembers it. `ended` is in unix seconds, 0.0 while it goes on.

    `passed` counts for one that succeeded; `definition` is the digest of the training.yaml that it was started by;
    `kind` is the run's, `commit` what it was started from, `rules` as in Record.
    """

    id: str
    version: str
    data: str
    code: str
    cause: str
    state: RunState
    ended: float = 0.0
    message: str = ""
    retryable: bool = False
    passed: bool = False
    definition: str = ""
    kind: str = TRAIN
    commit: str = ""
    rules: str = ""


@dataclass(frozen=True)
class Signal:
    """What the gate sees in what serves: the episode that goes on since `since` (unix seconds), if `stale`.

    `version` is the one that serves, "" if that is not known.
    """

    name: str
    stale: bool
    reason: str
    since: float
    version: str = ""


@dataclass(frozen=True)
class State:
    """All that counts for one model. `subject` is its image's name, `now` in unix seconds.

    `data` and `code` are the versions at the branch's tip, `definition` is the digest of training.yaml; `ready`: the
    data's bytes are where they are read from, else `note` says what lacks. `taken` are versions that anybody has given
    away: in the registry, in Git, rejected. `outdated` is what passed and may not be proposed, because Git names
    another model by now. `rules` is the tip's version of what runs are held against, `named` the version that Git
    names; both "" where that cannot be told.
    """

    model: str
    subject: str
    now: float
    data: str
    code: str
    stale: Stale = field(default_factory=Stale)
    retries: int = 1
    ready: bool = True
    note: str = ""
    taken: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    signals: tuple[Signal, ...] = ()
    definition: str = ""
    outdated: Outdated | None = None
    rules: str = ""
    named: str = ""


@dataclass(frozen=True)
class Decision:
    """What to do, and why in a few words. The rest is of the run that is to be started."""

    action: Action
    reason: str
    cause: str = ""
    version: str = ""
    run: str = ""
    attempt: int = 0


@dataclass(frozen=True)
class Cause:
    """Why there is to be a run: `key` is the same as long as it is the same cause. None is "", with why not."""

    key: str
    words: str


def decide(state: State) -> Decision:
    """Whether to start a run, and which."""
    going = next((each for each in state.attempts if not each.state.over), None)
    if going:
        return Decision(Action.WAIT, f"{going.id} is under way, for {going.version}")
    state = replace(state, attempts=tuple(each for each in state.attempts if each.kind == TRAIN))
    cause = _cause(state, known_records(state))
    if not cause.key:
        return Decision(Action.NOTHING, cause.words)
    if not state.ready:
        return Decision(Action.WAIT, f"{cause.words}; {state.note or 'its data is not there yet'}", cause.key)
    return next_attempt(state, cause)


def known_records(state: State) -> tuple[Record, ...]:
    """The runs that came to an end, by their versions: the registry's, and those that only this memory knows.

    Versions that are not dotted numbers come first, by time.
    """
    known = {each.version for each in state.records}
    ours = (
        Record(each.version, each.data, each.code, each.passed, each.ended, each.id, False, each.commit, each.rules)
        for each in state.attempts
        if each.state is RunState.SUCCEEDED and each.version not in known
    )
    return tuple(sorted((*state.records, *ours), key=lambda each: (order(each.version) or (), each.ended)))


def _cause(state: State, records: tuple[Record, ...]) -> Cause:
    if not records:
        return Cause("first", "no run of it has come to an end yet")
    last, inputs = records[-1], (state.data, state.code)
    tried = [each for each in records if (each.data, each.code) == inputs]
    in_vain = bool(tried) and not tried[-1].good
    back = next((each for each in tried if each.good and each.version == state.named), None)
    if (last.data, last.code) != inputs and not in_vain and not back:
        return Cause(f"after {last.version}", _changes(last, state))
    last = tried[-1]
    notes: list[str] = []
    if in_vain:
        if (found := _other_rules(state, tried)).key:
            return found
        notes.append(f"its data and code were tried as {last.version}, which {_fate(last, state)}")
    elif back and records[-1] != last:
        notes.append(f"its data and code are those of {back.version}, which Git names")
    else:
        gone = last.good and last.version not in {each.version for each in state.records}
        missing = ", which passed and is not in the registry: modelpack train makes it again" if gone else ""
        notes.append(f"its data and code are those of {last.version}{missing}")
    for found in (_late(state, tried), *_signals(state, records), _age(state, last, in_vain)):
        if found.key:
            return found
        notes += [found.words] if found.words else []
    return Cause("", "; ".join(notes))


def _fate(record: Record, state: State) -> str:
    return "was rejected" if record.rejected else f"did not pass; modelpack train {state.model} tries it again"


def _other_rules(state: State, tried: Sequence[Record]) -> Cause:
    """What did not pass is tried again once it would be held against something else, and once for each such thing."""
    last, failed = tried[-1], [each.rules for each in tried if not each.passed]
    if last.passed or not (last.rules and state.rules) or state.rules in failed:
        return Cause("", "")
    words = f"what {last.version} did not pass has changed: its checks, its tests or its quality section"
    return Cause(f"rules {state.rules} after {last.version}", words)


def _changes(last: Record, state: State) -> str:
    pairs = (("data", last.data, state.data), ("code", last.code, state.code))
    changed = [(name, before, after) for name, before, after in pairs if before != after]
    return ", ".join(f"its {name} changed since {last.version}: {_short(a)} -> {_short(b)}" for name, a, b in changed)


def _short(version: str) -> str:
    return f"{version[:19]}…" if len(version) > 20 else version or "(unknown)"


def _late(state: State, tried: Sequence[Record]) -> Cause:
    """A candidate of these very data and code is made again, to be held against the model that is named by now: once
    for each such model, whatever that run says it was held against."""
    late = state.outdated
    if late is None or not tried or tried[-1].version != late.version:
        return Cause("", "")
    cause = f"held against {late.named}"
    made = next((each.version for each in tried if _is_of(each, cause, state)), "")
    return Cause("", f"{late.words}, although {made} was made for that") if made else Cause(cause, late.words)


def _signals(state: State, records: tuple[Record, ...]) -> Iterator[Cause]:
    """One run for each episode: whatever run came to an end since it began has answered it."""
    newest = next((each.version for each in reversed(records) if each.good), "")
    for each in state.signals if state.stale.signals else ():
        cause = f"signal {each.name} since {each.since:.0f}"
        if not each.stale:
            continue
        if each.since > state.now:
            yield Cause("", f"{each.name} is said to be stale since a time that is yet to come")
        elif _is_newer(newest, each.version):
            yield Cause("", f"{each.name} is about {each.version}, and {newest} passed since")
        elif answer := next((r for r in records if r.ended >= each.since or _is_of(r, cause, state)), None):
            yield Cause("", f"{answer.version} was trained since {each.name} became stale")
        else:
            yield Cause(cause, f"the gate says {each.name}: {each.reason}")


def _is_newer(version: str, other: str) -> bool:
    left, right = order(version), order(other)
    return bool(left and right and left > right)


def _is_of(record: Record, cause: str, state: State) -> bool:
    """Whether a run was started for this cause: clocks may differ, ids do not."""
    about = (state.subject, state.model, record.version, record.data, record.code, cause)
    return bool(record.run) and any(record.run == run_id(*about, each) for each in range(1, MOST_ATTEMPTS + 1))


def _age(state: State, last: Record, in_vain: bool) -> Cause:
    """Age counts from the last run; the same again has no better chance where it did not pass."""
    if not state.stale.age or in_vain:
        return Cause("", "")
    age = state.now - last.ended
    if age < 0:
        return Cause("", f"{last.version} ended in the future, so a clock is wrong: age does not count")
    if age <= state.stale.age:
        return Cause("", "")
    return Cause(f"age after {last.version}", f"{last.version} is older than {_span(state.stale.age)}")


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def next_attempt(state: State, cause: Cause, version: str = "") -> Decision:
    """Start it, unless it failed before by the same training.yaml: then later, or not at all. `version` is what it
    makes, "" for the next."""
    about = (state.data, state.code, cause.key)
    before = [
        each
        for each in state.attempts
        if (each.data, each.code, each.cause) == about and each.state is not RunState.SUCCEEDED
    ]
    failed = [each for each in before if each.definition == state.definition and _alike(each.rules, state.rules)]
    if failed:
        last = failed[-1]
        ended = "failed" if last.state is RunState.FAILED else f"was {last.state.value}"
        said = f"{last.id} {ended}" + (f": {last.message}" if last.message else "")
        if any(_is_final(each) for each in failed):
            return Decision(Action.HOLD, f"{said}; data, code or training.yaml has to change first", cause.key)
        if len(failed) > state.retries:
            return Decision(Action.HOLD, f"{said}, after {len(failed)} attempts", cause.key)
        since, wait = state.now - last.ended, backoff(len(failed))
        if 0 <= since < wait:  # a clock that was set back holds nothing up: attempts are counted
            return Decision(Action.WAIT, f"{said}; once more in {_span(wait - since)}", cause.key)
    version = version or next_version((*state.taken, *(each.version for each in _keeping(state))))
    number = len(before) + 1
    known = {each.id for each in state.attempts}
    # a memory that was lost may know the second attempt and not the first: an id that was used starts nothing
    while (name := run_id(state.subject, state.model, version, state.data, state.code, cause.key, number)) in known:
        number += 1
    again = f", attempt {number}" if before else ""
    return Decision(Action.START, cause.words + again, cause.key, version, name, number)


def _alike(rules: str, other: str) -> bool:
    return rules == other or not (rules and other)


def _is_final(attempt: Attempt) -> bool:
    """Whether the same again would go no better, or a person wants none of it."""
    return attempt.state is RunState.CANCELLED or (attempt.state is RunState.FAILED and not attempt.retryable)


def _keeping(state: State) -> Iterator[Record | Attempt]:
    """What a version stays with: a run that is lost may still go on somewhere, and push."""
    yield from known_records(state)
    yield from (each for each in state.attempts if each.state is RunState.LOST)


def backoff(failed: int) -> float:
    """Seconds after the last of so many attempts that failed."""
    return float(min(FIRST_WAIT * 2 ** (min(failed, 20) - 1), LONGEST_WAIT))
