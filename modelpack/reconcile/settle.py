"""After a failed rollout, make Git say what serves: revert the commit, record the model as rejected, tell the gate.

`decide` is pure. Everything is done in an order in which a run that was killed anywhere is simply finished by the next:
revert and record are one commit, and a commit that is there already is only acknowledged. Where the branch is protected
the same change is proposed by pull request, from a branch of the rollout's own, and the gate is told once it is merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import cache, partial

from modelpack import gitops
from modelpack.errors import InputError, ModelpackError, ProtectedError, RefusedError
from modelpack.forge import Forge, State, open_forge
from modelpack.gitops import Style, digest_of, version_of
from modelpack.gitops.proposal import Kind, Report, Text, evaluation_of, link_to, write
from modelpack.gitops.pull import open_pull
from modelpack.reconcile import revert
from modelpack.reconcile.rollouts import Gate, Rollout
from modelpack.reference import Reference
from modelpack.registry import Via
from modelpack.rollout import Phase

ACTIVE, PROMOTED, FAILED, WITHDRAWN = "active", "promoted", "failed", "withdrawn"
REJECT = "reject"  # the gate's verdict
_STATES = (FAILED, WITHDRAWN)
_OVER = tuple(each.value for each in Phase if each.settled)  # Flagger has let go of the canary

ModelDigest = Callable[[str], str]
"""From an image's text to its model digest, "" if nobody knows."""
ForgeOf = Callable[[gitops.Repository, gitops.Model], Forge]


class Action(Enum):
    """What is to be done about a rollout."""

    WAIT = "waiting"
    HOLD = "held"  # a person is asked
    REVERT = "reverted"
    RECORD = "recorded"
    PROPOSE = "proposed"  # a person has to merge it
    ACKNOWLEDGE = "acknowledged"


@dataclass(frozen=True)
class Decision:
    """What to do, and why in one sentence."""

    action: Action
    note: str


@dataclass(frozen=True)
class Outcome:
    """What was done about a rollout. `commit` is "" where Git needed none, `pull` the address of what was proposed."""

    rollout: str
    model: str
    action: Action
    note: str
    commit: str = ""
    pull: str = ""


def decide(rollout: Rollout, named: Sequence[str], recorded: bool, beside: Sequence[Rollout] = ()) -> Decision:
    """What a rollout asks for, given the images that Git names for it now, and whether its digest is in rejected.yaml.

    `beside` are the other rollouts of its Canary, oldest first. A revert in the middle of an analysis goes unnoticed by
    Flagger: nothing happens before the phase says it is over.
    """
    failed, version = digest_of(rollout.image), version_of(rollout.image)
    if rollout.phase not in _OVER or rollout.state not in _STATES:
        return Decision(Action.WAIT, f"{version} is {rollout.state} in phase {rollout.phase}")
    if rollout.state == WITHDRAWN:
        return Decision(Action.ACKNOWLEDGE, f"{version} was withdrawn in Git during its rollout")
    if not failed or not rollout.primary:
        return Decision(
            Action.HOLD, f"{version} failed, but its digest or the primary's image is not known: look yourself"
        )
    later = [each for each in beside if each.started > rollout.started]
    again = next((each.state for each in reversed(later) if digest_of(each.image) == failed), "")
    if again == ACTIVE:
        return Decision(Action.WAIT, f"{version} failed, and is being tried again")
    if again in (PROMOTED, FAILED):
        return Decision(Action.ACKNOWLEDGE, f"{version} failed, was tried again later, and then {again}")
    if failed == digest_of(rollout.primary):
        return Decision(Action.HOLD, f"{version} failed, but the primary serves it already: something else changed, or a promotion broke")  # noqa: E501  # fmt: skip
    if rollout.verdict != REJECT and _broke(rollout, beside):
        return Decision(Action.HOLD, f"{version} failed, but beside a primary that an earlier promotion broke")
    if any(digest_of(image) == failed for image in named):
        if any(each.state == PROMOTED for each in later):
            return Decision(Action.HOLD, f"{version} failed, but another was promoted since, and Git names it again")
        return Decision(Action.REVERT, f"{version} failed, back to {version_of(rollout.primary)}: {why(rollout)}")
    if recorded:
        return Decision(Action.ACKNOWLEDGE, f"{version} is rejected, and Git does not name it any more")
    there = f"Git names {version_of(named[0])} already" if named else "Git names nothing for it"
    return Decision(Action.RECORD, f"{version} is rejected, {there}: {why(rollout)}")


def _broke(rollout: Rollout, beside: Sequence[Rollout]) -> bool:
    """Whether the last attempt at what the primary serves was a promotion that failed half-way."""
    serving = digest_of(rollout.primary)
    before = [each for each in beside if each.started < rollout.started and digest_of(each.image) == serving]
    return bool(before) and before[-1].state == FAILED and digest_of(before[-1].primary) == serving


def why(rollout: Rollout) -> str:
    """Flagger gives up for reasons of its own too: no pod gets ready, a metric of its own, a promotion that breaks."""
    return (
        rollout.reason
        if rollout.verdict == REJECT
        else f"Flagger gave it up, the gate said {rollout.verdict}: {rollout.reason}"
    )


def settle_once(
    gate_url: str,
    repo: str,
    branch: str,
    via: Via,
    model_digest: ModelDigest | None = None,
    forge_of: ForgeOf | None = None,
    *,
    lasting: bool = True,
) -> Iterator[Outcome]:
    """Settle every failed rollout that the gate knows of, oldest first, and yield each once it is done.

    Commits link the gate's page if the gate is `lasting`. One that cannot be settled does not stop the others; the
    first error is raised at the end.
    """
    gate = Gate(gate_url)
    waiting = gate.unsettled(_STATES)
    if not waiting:
        return
    identify = model_digest or partial(_from_registry, via=via)
    errors = []
    with gitops.open_repository(repo, branch) as repository:
        for rollout in waiting:
            try:
                outcome = _Run(gate, repository, rollout, via, identify, forge_of or _forge_of, lasting).settle()
                if outcome.action not in (Action.WAIT, Action.PROPOSE):
                    gate.settle(rollout, outcome.note)
            except ModelpackError as error:
                errors.append(error)
                continue
            yield outcome
    if errors:
        raise errors[0]


@dataclass(frozen=True)
class _Settlement(gitops.Change):
    """A change, and the decision that it carries out."""

    decision: Decision = Decision(Action.WAIT, "")


@dataclass(frozen=True)
class _Run:
    """One rollout being settled."""

    gate: Gate
    repository: gitops.Repository
    rollout: Rollout
    via: Via
    model_digest: ModelDigest
    forge_of: ForgeOf
    lasting: bool

    def settle(self) -> Outcome:
        side, beside = f"modelpack/revert/{self.rollout.id}", self.gate.beside(self.rollout)
        propose = partial(self._propose, beside=beside)
        if self.repository.remote_url and self.repository.side(side):
            return self._by_pull(side, propose)  # it was protected before: no push to try
        try:
            done, commit = gitops.land(self.repository, propose, style=Style(report=self._link()))
        except ProtectedError as refusal:
            try:
                return self._by_pull(side, propose)
            except (InputError, RefusedError) as error:
                problem = f"{refusal.problem}; nor can a pull request be opened: {error.subject}: {error.problem}"
                raise RefusedError(refusal.subject, problem, error.remedy) from error
        return self._outcome(done.decision, commit)

    def _propose(self, tip: gitops.Repository, beside: Sequence[Rollout]) -> _Settlement:
        model = gitops.by_name(tip, self.rollout.model)
        place = revert.look(tip, model, self.rollout)
        decision = decide(self.rollout, place.images, place.recorded, beside)
        change = gitops.Change(model.name, place.now(self.rollout.image), self.rollout.primary, "")
        if decision.action in (Action.REVERT, Action.RECORD):
            goes_back = decision.action is Action.REVERT
            identity = "" if place.recorded else self.model_digest(self.rollout.image)
            change = revert.change(tip, place, self.rollout, why(self.rollout), identity, goes_back=goes_back)
        return _Settlement(**{each.name: getattr(change, each.name) for each in fields(change)}, decision=decision)

    def _by_pull(self, side: str, propose: Callable[[gitops.Repository], _Settlement]) -> Outcome:
        """Propose it: once, whatever becomes of that is a person's to say."""
        now = propose(self.repository)
        if not now.files:
            return self._outcome(now.decision)
        model = gitops.by_name(self.repository, self.rollout.model)
        forge = self.forge_of(self.repository, model)
        pulls = forge.find(side)
        if pulls and pulls[0].state is State.CLOSED:
            note = f"{version_of(self.rollout.image)} failed, and a person closed {pulls[0].url}, which says so"
            return replace(self._outcome(Decision(Action.HOLD, note)), pull=pulls[0].url)
        report = Report(self.gate.report(self.rollout), self._link())
        kind = Kind.REVERT if now.decision.action is Action.REVERT else Kind.REJECT
        evaluation = cache(partial(evaluation_of, via=self.via))

        def compose(change: gitops.Change) -> Text:
            failed = replace(change, old=self.rollout.image)
            old, new = evaluation(failed.old), evaluation(failed.new)
            return write(failed, kind=kind, environment=failed.environment, report=report, old=old, new=new)

        wishes, style = model.definition.pull_request, Style(report=self._link())
        done = open_pull(self.repository, forge, propose, branch=side, compose=compose, requested=wishes, style=style)
        if not done.change.files or done.pull is None:
            return self._outcome(propose(self.repository).decision)
        note = f"{now.decision.note}; {self.repository.branch} is protected, pull request {done.pull.number} says it"
        outcome = self._outcome(Decision(Action.PROPOSE, note), done.commit)
        return replace(outcome, pull=done.pull.url)

    def _outcome(self, decision: Decision, commit: str = "") -> Outcome:
        return Outcome(self.rollout.id, self.rollout.model, decision.action, decision.note, commit)

    def _link(self) -> str:
        try:
            return link_to(self.gate.page(self.rollout)) if self.lasting else ""
        except InputError:
            return ""


def _forge_of(repository: gitops.Repository, model: gitops.Model) -> Forge:
    return open_forge(repository.remote_url, model.definition.pull_request, repository.credentials)


def _from_registry(image: str, via: Via) -> str:
    from modelpack.fetch import resolve

    try:
        return resolve(Reference.parse(image), via).model_digest
    except ModelpackError:
        return ""  # the truth in Git does not wait for a registry: the image's digest alone is recorded then
