"""After a failed rollout, make Git say what serves: revert the commit, record the model as rejected, tell the gate.

`decide` is pure. Everything is done in an order in which a run that was killed anywhere is simply finished by the next:
revert and record are one commit, and a commit that is there already is only acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from functools import partial

from modelpack import gitops
from modelpack.definition import Target
from modelpack.errors import ModelpackError
from modelpack.gitops import digest_of, version_of
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


class Action(Enum):
    """What is to be done about a rollout."""

    WAIT = "waiting"
    HOLD = "held"  # a person is asked
    REVERT = "reverted"
    RECORD = "recorded"
    ACKNOWLEDGE = "acknowledged"


@dataclass(frozen=True)
class Decision:
    """What to do, and why in one sentence."""

    action: Action
    note: str


@dataclass(frozen=True)
class Outcome:
    """What was done about a rollout. `commit` is "" where Git needed none."""

    rollout: str
    model: str
    action: Action
    note: str
    commit: str = ""


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
        return Decision(Action.REVERT, f"{version} failed, back to {version_of(rollout.primary)}: {_why(rollout)}")
    if recorded:
        return Decision(Action.ACKNOWLEDGE, f"{version} is rejected, and Git does not name it any more")
    return Decision(Action.RECORD, f"{version} is rejected, Git names {version_of(named[0])} already: {_why(rollout)}")


def _broke(rollout: Rollout, beside: Sequence[Rollout]) -> bool:
    """Whether the last attempt at what the primary serves was a promotion that failed half-way."""
    serving = digest_of(rollout.primary)
    before = [each for each in beside if each.started < rollout.started and digest_of(each.image) == serving]
    return bool(before) and before[-1].state == FAILED and digest_of(before[-1].primary) == serving


def _why(rollout: Rollout) -> str:
    """Flagger gives up for reasons of its own too: no pod gets ready, a metric of its own, a promotion that breaks."""
    return (
        rollout.reason
        if rollout.verdict == REJECT
        else f"Flagger gave it up, the gate said {rollout.verdict}: {rollout.reason}"
    )


def settle_once(
    gate_url: str, repo: str, branch: str, via: Via, model_digest: ModelDigest | None = None
) -> Iterator[Outcome]:
    """Settle every failed rollout that the gate knows of, oldest first, and yield each once it is done.

    One that cannot be settled does not stop the others; the first error is raised at the end.
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
                propose = partial(_propose, rollout=rollout, beside=gate.beside(rollout), model_digest=identify)
                done, commit = gitops.land(repository, propose)
                if done.decision.action is not Action.WAIT:
                    gate.settle(rollout, done.decision.note)
            except ModelpackError as error:
                errors.append(error)
                continue
            yield Outcome(rollout.id, rollout.model, done.decision.action, done.decision.note, commit)
    if errors:
        raise errors[0]


@dataclass(frozen=True)
class _Settlement(gitops.Change):
    """A change, and the decision that it carries out."""

    decision: Decision = field(kw_only=True)


def _propose(
    tip: gitops.Repository, rollout: Rollout, beside: Sequence[Rollout], model_digest: ModelDigest
) -> _Settlement:
    model = gitops.by_name(tip, rollout.model)
    draft = gitops.Draft(tip)
    failed = digest_of(rollout.image)
    named = {target: draft.image(model, target) for target in _concerned(gitops.targets_of(model), rollout)}
    recorded = any(entry.names(failed) for entry in gitops.rejected(tip, model))
    decision = decide(rollout, tuple(named.values()), recorded, beside)
    if decision.action is Action.REVERT:
        for target, image in named.items():
            if digest_of(image) == failed:
                gitops.put_back(draft, tip, model, target, rollout.primary)
    identity = ""
    if decision.action in (Action.REVERT, Action.RECORD) and not recorded:
        identity = model_digest(rollout.image)
        entry = gitops.Rejected(
            model=identity,
            image=rollout.image,
            version=version_of(rollout.image),
            rollout=rollout.id,
            reason=_why(rollout),
            at=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        data = gitops.with_rejected(draft.read(model.rejected_path), model.rejected_path, entry)
        draft.write(model.rejected_path, data)
    text = _message(rollout, decision, identity)
    return _Settlement(model.name, rollout.image, rollout.primary, text, draft.files, decision=decision)


def _concerned(targets: tuple[Target, ...], rollout: Rollout) -> tuple[Target, ...]:
    """The targets that a Canary is about; all of them if none has its name."""
    ours = tuple(
        target
        for target in targets
        if target.name == rollout.name and target.namespace in ("", rollout.namespace)
    )  # fmt: skip
    return ours or targets


def _message(rollout: Rollout, decision: Decision, model_digest: str) -> str:
    bad, good = version_of(rollout.image), version_of(rollout.primary)
    subject = (
        f"{rollout.model}: revert {gitops.step(rollout.image, rollout.primary)}"
        if decision.action is Action.REVERT
        else f"{rollout.model}: reject {bad}"
    )
    trailers = {
        "Model": rollout.model,
        "Version": good,
        "Digest": digest_of(rollout.primary),
        "Rejected-Digest": digest_of(rollout.image),
        "Rejected-Model-Digest": model_digest,
        "Rollout": rollout.id,
    }
    images = f"Rejected image: {rollout.image}\nServing image: {rollout.primary}"
    body = f"The rollout of {bad} failed: {_why(rollout)}\n\n{images}"
    return gitops.message(subject, body, trailers)


def _from_registry(image: str, via: Via) -> str:
    from modelpack.fetch import resolve

    try:
        return resolve(Reference.parse(image), via).model_digest
    except ModelpackError:
        return ""  # the truth in Git does not wait for a registry: the image's digest alone is recorded then
