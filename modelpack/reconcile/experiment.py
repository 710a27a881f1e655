"""The experimental pipeline against the one in production, where training.yaml asks for it: one comparison of each pair
of definitions, and one pull request for an experiment that passed. What did not pass is not compared again.

`decide` is pure. A comparison takes its turn among the model's runs: there is one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from modelpack import gitops
from modelpack.errors import DeclinedError
from modelpack.gitops.commit import one_line
from modelpack.gitops.pull import open_pull
from modelpack.oci import digest_of
from modelpack.reconcile.look import Rooms, Subject
from modelpack.reconcile.outcome import Outcome
from modelpack.reconcile.state import Memory
from modelpack.reconcile.train import Runs
from modelpack.reconcile.trainer import Action, Attempt, Cause, Decision, State, next_attempt
from modelpack.training import adopt
from modelpack.training.ask import experimental
from modelpack.training.compare import EXPERIMENTAL
from modelpack.training.definition import Train
from modelpack.training.folder import TRAINING
from modelpack.training.identity import code_version
from modelpack.training.run import State as RunState

EXPERIMENT = "experiment"
"""The kind of such runs, and what outcomes call this loop."""


def decide(state: State, production: str, experiment: str, *, same: bool = False) -> Decision:
    """Whether to compare: START with a run; NOTHING with the `run` that passed, if one did; else none.

    `production` and `experiment` are versions of code; `same`: the files are equal. The data that both learn from does
    not count: it is a changed definition that is compared, not changed data.
    """
    going = next((each for each in state.attempts if not each.state.over), None)
    if going:
        return Decision(Action.WAIT, f"{going.id} is under way, for {going.version}")
    if same:
        return Decision(Action.NOTHING, "its experiment is what is in production")
    cause = Cause(f"{EXPERIMENT} {production}", "its experiment is another than the one compared last, or the first")
    ours = [replace(each, data="") for each in state.attempts if each.kind == EXPERIMENT]
    alike = [each for each in ours if (each.code, each.cause) == (experiment, cause.key)]
    done = [each for each in alike if each.state is RunState.SUCCEEDED]
    if done and done[-1].passed:
        return Decision(Action.NOTHING, "its experiment passed the comparison", cause.key, run=done[-1].id)
    if done:
        return Decision(Action.NOTHING, f"its experiment did not pass: {done[-1].message}", cause.key)
    if not state.ready:
        return Decision(Action.WAIT, f"{cause.words}; {state.note or 'its data is not there yet'}", cause.key)
    about = replace(state, data="", code=experiment, records=(), attempts=tuple(ours))
    return next_attempt(about, cause, EXPERIMENTAL)


def compare(
    subject: Subject, repository: gitops.Repository, attempts: Sequence[Attempt], memory: Memory, rooms: Rooms
) -> Outcome:
    """One decision, carried out. Raises InputError where no pull request could follow: then nothing is trained."""
    training, folder = subject.training, subject.model.folder
    tried = experimental(training, f"{folder}/{TRAINING}")
    assert training.experiment is not None
    codes = [code_version(each, folder, repository) for each in (training, tried)]
    same = _content(training.train, folder, repository) == _content(training.experiment, folder, repository)
    data = rooms.data(subject, repository)
    state = State(
        subject.name,
        subject.image.name,
        rooms.now(),
        data.text,
        codes[1],
        retries=training.runs.retries,
        ready=data.ready,
        note=data.note,
        attempts=tuple(attempts),
        definition=digest_of(subject.text),
    )
    decision = decide(state, *codes, same=same)
    if decision.action is Action.START:
        adopt.check_alike(training, f"{folder}/{TRAINING}")
        rooms.forge(subject, repository)  # what cannot be proposed need not be trained
        return Runs(subject, memory, rooms).start(decision, state, repository.tip, EXPERIMENT)
    if decision.run:
        return _propose(subject, repository, decision, memory, rooms)
    return Outcome(subject.name, EXPERIMENT, decision.action.value, one_line(decision.reason))


def _content(train: Train, folder: str, repository: gitops.Repository) -> Any:
    """What makes a pipeline, by content: two files that hold the same are the same."""
    words = [train.notebook] if train.notebook else train.command
    files = [repository.object_at(f"{folder}/{each}") or each for each in words]
    return bool(train.notebook), dict(train.parameters), files


def _propose(
    subject: Subject, repository: gitops.Repository, decision: Decision, memory: Memory, rooms: Rooms
) -> Outcome:
    """The one pull request that makes the experiment the production pipeline, with the table; left alone if right."""
    known = next(each for each in memory.runs(subject.image.name) if each.run.id == decision.run)
    seen = rooms.backend(subject.training).look(known.run)
    table = seen.result.evaluation if seen.result else None
    if table is None:
        why = f"{decision.reason}, and its table is not kept any more: modelpack experiment {subject.name} --pr"
        return Outcome(subject.name, EXPERIMENT, "held", why)
    about = f"pull request of the pipeline of {subject.image.name}"
    furnished = memory.told(about)
    try:
        pulled = open_pull(
            repository,
            rooms.forge(subject, repository),
            adopt.propose(replace(known.run, data=table.data)),
            branch=adopt.branch_of(subject.name),
            compose=adopt.compose(table),
            requested=subject.model.definition.pull_request,
            furnished=furnished,
        )
    except DeclinedError as error:
        return Outcome(subject.name, EXPERIMENT, "held", str(error))
    if pulled.commit and pulled.commit != furnished:
        memory.tell(about, pulled.commit)
    address = pulled.pull.url if pulled.pull else ""
    if pulled.action == "none":
        return Outcome(subject.name, EXPERIMENT, "nothing", "its experiment is what is in production", pull=address)
    said = {"opened": "proposed", "updated": "updated"}.get(pulled.action, "unchanged")
    reason = "a person has to merge it" if said == "unchanged" else decision.reason
    commit = "" if said == "unchanged" else pulled.commit
    return Outcome(subject.name, EXPERIMENT, said, reason, commit=commit, pull=address)
