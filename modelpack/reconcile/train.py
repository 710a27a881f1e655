"""What the Trainer decided, done: runs are watched, started and forgotten; each is written down before it starts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace

from modelpack import gitops
from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.gitops.commit import one_line
from modelpack.gitops.program import without_login
from modelpack.reconcile.look import Look, Rooms, Subject
from modelpack.reconcile.outcome import Outcome
from modelpack.reconcile.state import Memory, Remembered
from modelpack.reconcile.trainer import MOST_ATTEMPTS, TRAIN, Action, Decision, decide
from modelpack.reconcile.trainer import State as Asked
from modelpack.runs import Backend
from modelpack.training.definition import Training, parse
from modelpack.training.folder import TRAINING, Folder, write
from modelpack.training.identity import run_id
from modelpack.training.run import Run, Seen, State


@dataclass(frozen=True)
class Runs:
    """The runs of one model, in memory and where they take place."""

    subject: Subject
    memory: Memory
    rooms: Rooms

    def known(self) -> tuple[Remembered, ...]:
        return self.memory.runs(self.subject.image.name)

    def watch(self) -> Iterator[Outcome]:
        """See how those under way stand, and start what was written down and not started."""
        for each in self.known():
            if each.state.over:
                continue
            training = self._training(each)
            backend = self.rooms.backend(training)
            if each.state is State.PENDING:
                self._start(backend, each.run, training, each.training)
            seen = self._look(backend, each.run)
            if seen.state.over:
                yield self._ended(each.run, seen)

    def start(self, decision: Decision, look: Asked, tip: str, kind: str = TRAIN) -> Outcome:
        """Write a run down, and start it. Raises RefusedError if another reconciler was faster.

        Where one goes on that is not in memory (a person started it, or the memory was lost), that one is waited for.
        """
        subject = self.subject
        run = run_of(decision, subject, look, tip, self.rooms, kind)
        backend = self.rooms.backend(subject.training)
        if other := self._other(backend):
            cause = decision.cause if is_for(decision.cause, other, subject.image.name) else ""
            self.memory.claim(subject.image.name, other, cause, subject.text)
            self.memory.note(other.id, Seen(State.RUNNING))
            return Outcome(subject.name, kind, "waiting", f"{other.id} is under way, for {other.version}")
        self.memory.claim(subject.image.name, run, decision.cause, subject.text)
        self._start(backend, run, subject.training, subject.text)
        return Outcome(subject.name, kind, "started", f"{run.version}: {decision.reason}", run=run.id)

    def collect(self) -> Iterator[Outcome]:
        """Forget ended runs beyond the limits of training.yaml, the oldest first."""
        keep = self.subject.training.runs
        ended = [each for each in reversed(self.known()) if each.state.over and not each.removed]
        succeeded = [each for each in ended if each.state is State.SUCCEEDED]
        others = [each for each in ended if each.state is not State.SUCCEEDED]
        for each in reversed((*succeeded[keep.keep_succeeded :], *others[keep.keep_failed :])):
            self.rooms.backend(self._training(each)).remove(each.run)
            shutil.rmtree(self.rooms.folder / each.run.id, ignore_errors=True)
            self.memory.removed(each.run.id)
            yield Outcome(self.subject.name, each.run.kind, "removed", "more ended runs than are kept", run=each.run.id)

    def _other(self, backend: Backend) -> Run | None:
        """A run of this model that goes on there, and that the memory does not have."""
        known = {each.run.id for each in self.known()}
        for run in backend.runs(self.subject.name):
            ours = run.folder == self.subject.model.folder and run.id not in known
            if ours and not backend.look(run).state.over:
                return run
        return None

    def _start(self, backend: Backend, run: Run, training: Training, text: bytes) -> None:
        kept = Folder(self.rooms.folder / run.id)  # where `modelpack runs` looks for it
        write(kept.path / TRAINING, text)
        kept.put_run(run)
        try:
            backend.start(run, training)
        except (InputError, NotFoundError, RefusedError):
            self.memory.forget(run.id)  # nothing was started: it is decided anew, by what training.yaml says then
            raise
        self.memory.note(run.id, Seen(State.RUNNING))

    def _look(self, backend: Backend, run: Run) -> Seen:
        seen = backend.look(run)
        if seen.state is State.PENDING:
            seen = replace(seen, state=State.RUNNING)  # the backend has it: PENDING here is what it never took
        if seen.state.over and seen.ended <= 0:
            seen = replace(seen, ended=self.rooms.now())
        self.memory.note(run.id, seen)
        return seen

    def _training(self, each: Remembered) -> Training:
        return parse(each.training, f"{each.run.folder}/{TRAINING} of {each.run.id}")

    def _ended(self, run: Run, seen: Seen) -> Outcome:
        if seen.state is State.SUCCEEDED and seen.result:
            verdict = "passed" if seen.result.passed else "did not pass"
            words = f"{run.version} {verdict}: {seen.result.reason}"
        else:
            words = f"{run.version} {seen.state.value}" + (f": {seen.message}" if seen.message else "")
        return Outcome(self.subject.name, run.kind, "ended", one_line(words), run=run.id)


def is_for(cause: str, run: Run, subject: str) -> bool:
    """Whether a run that goes on was started for a cause, by a reconciler with another memory: its id says so."""
    data = run.data if run.kind == TRAIN else ""  # a comparison is of definitions, whatever the data
    about = (subject, run.model, run.version, data, run.code, cause)
    return any(run.id == run_id(*about, each) for each in range(1, MOST_ATTEMPTS + 1))


def run_of(decision: Decision, subject: Subject, state: Asked, tip: str, rooms: Rooms, kind: str = TRAIN) -> Run:
    """The run that is to be started, from the commit at the tip."""
    return Run(
        id=decision.run,
        model=subject.name,
        version=decision.version,
        repository=without_login(str(rooms.root or rooms.location)),
        branch=rooms.branch,
        commit=tip,
        folder=subject.model.folder,
        data=state.data,
        code=state.code,
        reason=one_line(decision.reason),
        created=state.now,
        attempt=decision.attempt,
        kind=kind,
    )


def train(subject: Subject, repository: gitops.Repository, look: Look, memory: Memory, rooms: Rooms) -> Outcome:
    """One decision about a model whose runs were watched, carried out."""
    runs = Runs(subject, memory, rooms)
    decision = decide(look.state)
    if decision.action is not Action.START:
        return Outcome(subject.name, TRAIN, decision.action.value, decision.reason, notes=look.notes)
    return replace(runs.start(decision, look.state, repository.tip), notes=look.notes)
