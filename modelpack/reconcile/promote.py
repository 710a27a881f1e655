"""From one environment to the next: what Git names there may go on once its gate has seen it serve well.

`may_promote` is pure. The rollouts of an environment are those of its Canaries, which are found by namespace and name:
see `modelpack.gitops.place`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from modelpack import gitops
from modelpack.errors import InputError, RefusedError
from modelpack.gitops import digest_of, version_of
from modelpack.gitops.commit import with_trailers
from modelpack.gitops.environment import environment_of, home_of, name_there
from modelpack.gitops.place import Place, place_of, whole
from modelpack.gitops.proposal import Report, link_to
from modelpack.reconcile.rollouts import Gate, Rollout
from modelpack.reference import Reference
from modelpack.registry import Via
from modelpack.rollout import UNDER_WAY

ACTIVE, PROMOTED, FAILED = "active", "promoted", "failed"


@dataclass(frozen=True)
class Decision:
    """`refusal` is why a digest may not go on, "" if it may; `rollout` the newest of that digest, if there is one."""

    refusal: str = ""
    rollout: Rollout | None = None


def may_promote(rollouts: Sequence[Rollout], digest: str) -> Decision:
    """Whether the rollouts of one Canary, oldest first, say that it serves a digest and has served it well so far."""
    numbers = [number for number, each in enumerate(rollouts) if digest_of(each.image) == digest]
    if not numbers:
        running = next((each for each in reversed(rollouts) if _goes_on(each)), None)
        beside = f"; {version_of(running.image)} is under way" if running else ""
        return Decision(f"the gate has seen no rollout of it{beside}")
    ours, later = rollouts[numbers[-1]], rollouts[numbers[-1] + 1 :]
    return Decision(_own_refusal(ours) or _later_refusal(later, digest), ours)


def _own_refusal(rollout: Rollout) -> str:
    if _goes_on(rollout):
        return f"its rollout is still under way, in phase {rollout.phase}, the gate says {_words(rollout)}"
    if rollout.state == PROMOTED:
        return ""
    if rollout.state == FAILED:
        return f"its rollout failed, the gate said {_words(rollout)}"
    return f"its rollout was {rollout.state} before it ended"


def _later_refusal(later: Iterable[Rollout], digest: str) -> str:
    for each in later:
        version = version_of(each.image)
        if _goes_on(each):
            return f"{version} is under way there now"
        if each.state == PROMOTED:
            return f"{version} was promoted since, and serves"
        if each.state == FAILED and each.primary and digest_of(each.primary) != digest:
            return f"the primary serves {version_of(each.primary)} since {version} failed"
    return ""


def _goes_on(rollout: Rollout) -> bool:
    return rollout.state == ACTIVE or rollout.phase in UNDER_WAY


def _words(rollout: Rollout) -> str:
    return f"{rollout.verdict}: {rollout.reason}" if rollout.reason else rollout.verdict


def of_canaries(rollouts: Iterable[Rollout], places: Sequence[Place], where: str) -> tuple[tuple[Rollout, ...], ...]:
    """The rollouts of each Canary that may stand at one of these places, oldest first.

    A Canary that is not called as its workload is found by its namespace alone. Raises RefusedError where a place may
    be in several namespaces: another environment's Canary proves nothing.
    """
    known: dict[tuple[str, str], list[Rollout]] = {}
    for each in sorted(rollouts, key=lambda each: each.started):
        known.setdefault((each.namespace, each.name), []).append(each)
    found: dict[tuple[str, str], tuple[Rollout, ...]] = {}
    for place in places:
        ours = [key for key in known if place.holds(*key)] or [
            key for key in known if Place(place.namespace).holds(*key)
        ]
        if len({namespace for namespace, _ in ours}) > 1:
            several = ", ".join("/".join(key) for key in sorted(ours))
            remedy = "name the namespace in the target, or in the Kustomization beside it"
            raise RefusedError(where, f"its Canary may be any of {several}", remedy)
        found |= {key: tuple(known[key]) for key in ours}
    return tuple(found.values())


# -- between two tips


@dataclass(frozen=True)
class Stage:
    """An environment at the tip of its branch: `name` is model.yaml's, `there` what the repository with its files says.

    `gate` is the address of its gate, "" if model.yaml names none.
    """

    name: str
    there: str
    gate: str
    model: gitops.Model
    repository: gitops.Repository


@contextmanager
def open_stages(repo: str, branch: str, model: str, *names: str) -> Iterator[tuple[Stage, ...]]:
    """The environments of a model with these names, each in its repository; raises NotFoundError for unknown ones."""
    with ExitStack() as stack:
        opened = {(repo, branch): stack.enter_context(gitops.open_repository(repo, branch))}
        known = gitops.by_name(opened[repo, branch], model)
        found = []
        for name in names:
            environment = environment_of(known.definition, name, f"{known.folder}/model.yaml")
            home = home_of(environment, repo, branch)
            if home not in opened:
                opened[home] = stack.enter_context(gitops.open_repository(*home))
            there = gitops.by_name(opened[home], model)
            called = name_there(there.definition, environment)
            found.append(Stage(name, called, environment.gate, there, opened[home]))
        yield tuple(found)


@dataclass(frozen=True)
class Promotion:
    """What goes on to `target`. Where that has it already the gate is not asked, and `rollout` is None.

    `report` is all that the gate knows of the rollout, `page` where people read it.
    """

    source: str
    target: Stage
    wanted: gitops.Wanted
    rollout: Rollout | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    page: str = ""

    @property
    def judged(self) -> Report:
        """What the pull request shows of the rollout; a link that is no plain address is left out."""
        try:
            page = link_to(self.page) if self.page else ""
        except InputError:
            page = ""
        return Report(self.report or None, page, self.source)

    def propose(self, tip: gitops.Repository) -> gitops.Change:
        """The change of the target's branch; raises RefusedError for what is rejected there, or older."""
        _check_order(tip, self.target, self.wanted)
        change = gitops.propose_bump(tip, self.wanted, self.target.there)
        judged = [("Promoted-From", self.source), ("Rollout", self.rollout.id if self.rollout else "")]
        return replace(change, message=with_trailers(change.message, judged))


def prepare(source: Stage, target: Stage, via: Via, gate_url: str = "") -> Promotion:
    """Decide whether what Git names in one environment may go on to another.

    `gate_url` takes the place of the source's gate. Raises RefusedError with the reason, InputError without a gate,
    NotFoundError if the target's registry lacks the image.
    """
    from modelpack.fetch import resolve

    image, places = _named(source)
    where = f"{source.model.name} {version_of(image)} in {source.name}"
    named = Reference.parse(image)
    resolved = resolve(target.model.definition.image.at(tag=named.tag, digest=named.digest), via)
    wanted = gitops.Wanted(resolved.reference, resolved.version, resolved.model_digest)
    gitops.check_rejected(source.repository, source.model, wanted)
    promotion = Promotion(source.name, target, wanted)
    if not promotion.propose(target.repository).files:
        return promotion
    if not (gate_url or source.gate):
        remedy = f"write gate: URL beside {source.name} in model.yaml, or give --gate"
        raise InputError(f"environment {source.name}", "names no gate, which knows whether it serves well", remedy)
    gate = Gate(gate_url or source.gate)
    canaries = of_canaries(gate.of_model(source.model.name), places, where)
    decisions = [may_promote(each, digest_of(image)) for each in canaries] or [may_promote((), digest_of(image))]
    for each in decisions:
        if each.refusal:
            first = f"a first version has none and is named by modelpack bump REF --env {target.name}"
            raise RefusedError(where, each.refusal, "" if each.rollout else first)
    rollout = max((each.rollout for each in decisions if each.rollout), key=lambda each: each.started)
    return replace(promotion, rollout=rollout, report=gate.report(rollout), page=gate.page(rollout))


def _named(stage: Stage) -> tuple[str, tuple[Place, ...]]:
    """The one image, by digest, that Git names in an environment, and where its workloads run."""
    draft, targets = (
        gitops.Draft(stage.repository),
        gitops.targets_of(stage.model, stage.there, stage.repository.branch),
    )
    images = [whole(draft.image(stage.model, target), stage.model.definition.image) for target in targets]
    pinned = {digest_of(image): image for image in images if digest_of(image)}
    where = f"{stage.model.name} in {stage.name}"
    if not pinned:
        problem = f"Git names {images[0] or 'nothing'}, without a digest: a tag may be another image by now"
        raise RefusedError(where, problem, f"pin it: modelpack bump REF --env {stage.name}")
    if len(pinned) > 1:
        several = " and ".join(sorted(version_of(image) for image in pinned.values()))
        raise RefusedError(where, f"its targets name different images, {several}", "bump it there first")
    return next(iter(pinned.values())), tuple(place_of(stage.repository.read, target) for target in targets)


def _check_order(tip: gitops.Repository, target: Stage, wanted: gitops.Wanted) -> None:
    """Raise RefusedError if a target has a newer version: a promotion never goes back by itself."""
    draft, model = gitops.Draft(tip), gitops.by_name(tip, target.model.name)
    new = wanted.reference.tag or wanted.version
    for each in gitops.targets_of(model, target.there, tip.branch):
        old = version_of(whole(draft.image(model, each), model.definition.image))
        now, ours = gitops.order(old), gitops.order(new)
        if now and ours and now > ours:
            remedy = f"modelpack rollback {model.name} --env {target.name} goes back"
            raise RefusedError(f"{model.name} {new}", f"{target.name} has {old}, which is newer", remedy)
