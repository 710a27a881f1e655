"""What the Deployer decided, done: one commit, or one pull request that is kept up to date.

The change is made of the tip that it lands on: whoever is faster is seen, and the decision made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from modelpack import gitops
from modelpack.data.pointer import IGNORE, with_ignored
from modelpack.errors import DeclinedError, InputError, ModelpackError, ProtectedError, RefusedError
from modelpack.fields import read
from modelpack.gitops.beside import Propose
from modelpack.gitops.change import Draft, step, targets_of, version_of
from modelpack.gitops.commit import one_line
from modelpack.gitops.environment import home_of, name_there
from modelpack.gitops.place import whole
from modelpack.gitops.pull import Pulled
from modelpack.lineage import Version
from modelpack.reconcile.deployer import Candidate, Decision, Outdated, State, decide
from modelpack.reconcile.look import Rooms, Subject
from modelpack.reconcile.outcome import Outcome
from modelpack.reconcile.state import Memory
from modelpack.target import Target
from modelpack.yamledit import find

DEPLOY = "deploy"
_LARGEST = 64 << 10  # bytes of a .dvc file

Request = Callable[..., Pulled]
"""`gitops.request.request`; tests hand in another."""


@dataclass(frozen=True)
class Place:
    """Where a model serves first: `environment` is "" for a model without any. `home`: the training.yaml lies there;
    `rejected` are those of where it lies, if that is elsewhere."""

    repository: gitops.Repository
    environment: str
    home: bool
    rejected: tuple[gitops.Rejected, ...] = ()


@contextmanager
def open_place(subject: Subject, repository: gitops.Repository, rooms: Rooms) -> Iterator[Place]:
    """The repository whose targets are bumped: the one at hand, or that of the model's first environment."""
    first = next(iter(subject.model.definition.environments), None)
    here = (rooms.location, rooms.branch)
    there = home_of(first, *here) if first else here
    if there == here:
        yield Place(repository, first.name if first else "", True)
        return
    assert first is not None
    with gitops.open_repository(*there) as other:
        model = gitops.by_name(other, subject.name)
        yield Place(other, name_there(model.definition, first), False, gitops.rejected(repository, subject.model))


def look(subject: Subject, place: Place, tip: gitops.Repository, versions: Sequence[Version], *, past: bool) -> State:
    """What a tip names, and with `past` what it named before: that takes the history."""
    model, draft = gitops.by_name(tip, subject.name), Draft(tip)
    known = model.definition.targets or model.definition.environments
    targets = targets_of(model, place.environment, tip.branch) if known else ()
    named = tuple(draft.image(model, each) for each in targets)
    left = {image for each in targets for image in _before(tip, model, each)} if past else set()
    return State(
        named=named,
        candidates=tuple(_candidate(each) for each in versions),
        rejected=(*gitops.rejected(tip, model), *place.rejected),
        left=tuple(sorted(left - set(named))),
        unseen=not place.home,
    )


def judge(subject: Subject, place: Place, tip: gitops.Repository, versions: Sequence[Version]) -> Decision:
    """Which version a tip is to name; the history is read only where there is one."""
    decision = decide(look(subject, place, tip, versions, past=False))
    found = decision.candidate or decision.outdated
    return decide(look(subject, place, tip, versions, past=True)) if found else decision


def outdated(
    subject: Subject, repository: gitops.Repository, rooms: Rooms, versions: Sequence[Version]
) -> Outdated | None:
    """What has to be held against the model that is named by now; None where that cannot be told, which `deploy` says
    why, or where runs could not see it either."""
    try:
        with open_place(subject, repository, rooms) as place:
            return judge(subject, place, place.repository, versions).outdated if place.home else None
    except ModelpackError:
        return None


def deploy(
    subject: Subject,
    place: Place,
    versions: Sequence[Version],
    rooms: Rooms,
    memory: Memory,
    request: Request | None = None,
) -> Outcome:
    """Bring Git one step on. Raises RefusedError where a branch is protected, or people's commits are in the way."""
    decision = judge(subject, place, place.repository, versions)
    version = chosen(decision, versions)
    if version is None:
        return Outcome(subject.name, DEPLOY, "nothing", one_line(decision.reason))
    if subject.training.propose == "commit":
        return _commit(subject, place.repository, _propose_of(subject, place, version, versions), decision)
    about = f"pull request of {subject.image.name} in {place.environment}"
    furnished = memory.told(about)
    try:
        pulled = propose_by_pull(subject, place, version, versions, rooms, request, furnished=furnished)
    except DeclinedError as error:
        return Outcome(subject.name, DEPLOY, "held", str(error))
    if pulled.commit and pulled.commit != furnished:
        memory.tell(about, pulled.commit)
    return _told(subject, pulled, decision)


def chosen(decision: Decision, versions: Sequence[Version]) -> Version | None:
    """The version that was decided for."""
    wanted = decision.candidate.version if decision.candidate else ""
    return next((each for each in versions if each.version == wanted and each.reference), None)


def propose_by_pull(
    subject: Subject,
    place: Place,
    version: Version,
    versions: Sequence[Version],
    rooms: Rooms,
    request: Request | None = None,
    *,
    furnished: str = "",
    dry_run: bool = False,
) -> Pulled:
    """Open the one pull request, or bring it up to date; raises DeclinedError where a person decided otherwise."""
    from modelpack.gitops.request import request as usual

    return (request or usual)(
        place.repository,
        _propose_of(subject, place, version, versions),
        model=subject.name,
        environment=place.environment,
        requested=gitops.by_name(place.repository, subject.name).definition.pull_request,
        via=rooms.via,
        judged=version.evaluation,
        furnished=furnished,
        dry_run=dry_run,
    )


def _commit(subject: Subject, repository: gitops.Repository, propose: Propose, decision: Decision) -> Outcome:
    try:
        change, commit = gitops.land(repository, propose)
    except ProtectedError as error:
        remedy = f"write propose: pull-request in {subject.model.folder}/training.yaml"
        raise RefusedError(error.subject, error.problem, remedy) from error
    if not commit:
        return Outcome(subject.name, DEPLOY, "nothing", f"somebody named {version_of(change.old)} meanwhile")
    words = f"{step(change.old, change.new)}: {decision.reason}"
    return Outcome(subject.name, DEPLOY, "committed", one_line(words), commit=commit)


def _told(subject: Subject, pulled: Pulled, decision: Decision) -> Outcome:
    address = pulled.pull.url if pulled.pull else ""
    if pulled.action == "none":
        return Outcome(subject.name, DEPLOY, "nothing", "somebody named it meanwhile", pull=address)
    said = {"opened": "proposed", "updated": "updated"}.get(pulled.action, "unchanged")
    reason = "a person has to merge it" if said == "unchanged" else decision.reason
    words = f"{step(pulled.change.old, pulled.change.new)}: {reason}"
    commit = "" if said == "unchanged" else pulled.commit
    return Outcome(subject.name, DEPLOY, said, one_line(words), commit=commit, pull=address)


def _propose_of(subject: Subject, place: Place, version: Version, versions: Sequence[Version]) -> Propose:
    """The change to a version on a tip, with its .dvc file; none where the base says by now that it is not wanted."""
    assert version.reference is not None
    wanted = gitops.Wanted(version.reference, version.version, version.model_digest)

    def propose(tip: gitops.Repository) -> gitops.Change:
        change = gitops.propose_bump(tip, wanted, place.environment)
        if tip is place.repository:  # a branch beside it is looked at for what it names alone
            now = judge(subject, place, tip, versions).candidate
            if now is None or now.version != version.version:
                return replace(change, files={})
        return with_dvc(subject, place, version, tip, change)

    return propose


def with_dvc(
    subject: Subject, place: Place, version: Version, tip: gitops.Repository, change: gitops.Change
) -> gitops.Change:
    """The change with the .dvc file that the version's model was added under, where there is one, and with a .gitignore
    beside it that leaves out the model: what `dvc add` does.

    Raises InputError for one that is none: it comes from the registry, and `dvc` would follow it.
    """
    out, text = subject.training.output.dvc, version.origin.dvc if version.origin else ""
    if not (change.files and place.home and out and text):
        return change
    path = f"{subject.model.folder}/{out}"
    data = text.encode()
    if len(data) > _LARGEST:
        raise InputError(path, f"{version.version}'s has {len(data)} bytes, {_LARGEST} at most")
    beside = f"{path.rpartition('/')[0]}/{IGNORE}"
    before = {each: tip.read(each) for each in (path, beside)}
    after = {path: data, beside: with_ignored(before[beside], _output_of(data, path))}
    changed = {each: (before[each], after[each]) for each in after if before[each] != after[each]}
    return replace(change, files={**change.files, **changed})


def _output_of(data: bytes, path: str) -> str:
    """The name of the one output; raises InputError unless the file names one in its own folder, and says no more."""
    fields = read(data, path)
    outs = fields.mappings("outs")
    fields.done()
    if len(outs) != 1:
        raise fields.error("outs", "is not one output")
    outs[0].skip("md5", "size", "nfiles", "hash", "remote")
    name = outs[0].text("path")
    outs[0].done()
    if name in ("", ".", "..", IGNORE, ".git") or "/" in name or "\\" in name or not name.isprintable():
        raise outs[0].error("path", f"{name[:100]!r} is not a name in the file's own folder")
    return name


def _candidate(version: Version) -> Candidate:
    image = str(version.reference) if version.reference else ""
    against = version.evaluation.against if version.evaluation else ""
    return Candidate(version.version, image, version.passed, version.model_digest, against)


def _before(tip: gitops.Repository, model: gitops.Model, target: Target) -> Iterator[str]:
    """Every image that a target ever had on this branch."""
    for revision in tip.history(target.file):
        try:
            yield whole(find(revision.data or b"", target.file, target).value, model.definition.image)
        except ModelpackError:
            continue  # the target was not there yet, or somewhere else
