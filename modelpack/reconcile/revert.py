"""What a failed rollout asks of Git: what serves in the place of what failed, and what failed in rejected.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from modelpack import gitops
from modelpack.errors import RefusedError
from modelpack.gitops import digest_of, version_of
from modelpack.gitops.automation import pause
from modelpack.gitops.place import place_of
from modelpack.reconcile.rollouts import Rollout
from modelpack.target import Target


@dataclass(frozen=True)
class Place:
    """Where Git names what a Canary runs. `environment` is "" for a model without any; `recorded`: what failed is in
    rejected.yaml."""

    model: gitops.Model
    environment: str
    named: Mapping[Target, str]
    recorded: bool

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(self.named.values())

    def now(self, failed: str) -> str:
        """What Git names, in one word: what failed if any target still has it, "" if there are no targets."""
        found = [each for each in self.images if digest_of(each) == digest_of(failed)] or self.images
        return next(iter(found), "")


def look(tip: gitops.Repository, model: gitops.Model, rollout: Rollout) -> Place:
    """What Git says now about a rollout.

    Raises RefusedError where it cannot be told which of several environments the Canary belongs to.
    """
    environment, targets = _concerned(tip, model, rollout)
    draft = gitops.Draft(tip)
    named = {
        target: rollout.image if draft.holds(model, target, rollout.image) else draft.image(model, target)
        for target in targets
    }
    failed = digest_of(rollout.image)
    return Place(model, environment, named, any(each.names(failed) for each in gitops.rejected(tip, model)))


def change(
    tip: gitops.Repository, place: Place, rollout: Rollout, reason: str, model_digest: str, *, goes_back: bool
) -> gitops.Change:
    """The change on a tip; `goes_back`: where Git names what failed, it is to name what the primary serves."""
    model, draft, failed = place.model, gitops.Draft(tip), digest_of(rollout.image)
    if goes_back:
        for target, image in place.named.items():
            if digest_of(image) == failed:
                gitops.put_back(draft, tip, model, target, rollout.primary)
    else:
        pause(draft, model, *place.named)
    if not place.recorded:
        version, at = version_of(rollout.image), _ended(rollout)
        entry = gitops.Rejected(model_digest, rollout.image, version, rollout.id, reason, at)
        data = gitops.with_rejected(draft.read(model.rejected_path), model.rejected_path, entry)
        draft.write(model.rejected_path, data)
    now = place.now(rollout.image)
    return gitops.Change(
        model.name,
        now,
        rollout.primary if goes_back else now,
        _message(rollout, reason, model_digest, place.environment, goes_back=goes_back),
        draft.files,
        environment=place.environment,
        style=replace(model.definition.commit, message=""),
    )


def _concerned(
    tip: gitops.Repository, model: gitops.Model, rollout: Rollout
) -> tuple[str, tuple[Target, ...]]:  # fmt: skip
    """The environment and the targets that a Canary is about; without environments all targets if none has its name."""
    environments = model.definition.environments
    if not environments:
        targets = gitops.targets_of(model)
        return "", _held(tip, targets, rollout) or targets
    found = {each.name: held for each in environments if (held := _held(tip, each.targets, rollout))}
    if len(found) > 1:
        canary = f"Canary {rollout.namespace}/{rollout.name}"
        problem = f"{canary} may be of {' or '.join(found)}"
        remedy = "name the namespace in the targets, or in the Kustomization beside them"
        raise RefusedError(f"{model.folder}/model.yaml", problem, remedy)
    name, held = next(iter(found.items()), ("", ()))
    if name:
        gitops.targets_of(model, name, tip.branch)  # refuses one that stands on another branch
    return name, held


def _held(tip: gitops.Repository, targets: tuple[Target, ...], rollout: Rollout) -> tuple[Target, ...]:
    """Those of the targets that a Canary is about, as far as the files tell."""
    places = {target: place_of(tip.read, target) for target in targets}
    by_name = (rollout.namespace, rollout.name)
    exact = tuple(target for target, place in places.items() if place.name and place.holds(*by_name))
    return exact or tuple(target for target, place in places.items() if not place.name and place.holds(*by_name))


def _ended(rollout: Rollout) -> str:
    """When it was over, which is the same however often it is proposed."""
    return datetime.fromtimestamp(rollout.ended or rollout.started, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _message(rollout: Rollout, reason: str, model_digest: str, environment: str, *, goes_back: bool) -> str:
    bad, good = version_of(rollout.image), version_of(rollout.primary)
    subject = (
        f"{rollout.model}: revert {gitops.step(rollout.image, rollout.primary)}"
        if goes_back
        else f"{rollout.model}: reject {bad}"
    )
    trailers = {
        "Model": rollout.model,
        "Version": good,
        "Digest": digest_of(rollout.primary),
        "Rejected-Digest": digest_of(rollout.image),
        "Rejected-Model-Digest": model_digest,
        "Environment": environment,
        "Rollout": rollout.id,
        "Verdict": rollout.verdict,
    }
    images = f"Rejected image: {rollout.image}\nServing image: {rollout.primary}"
    body = f"The rollout of {bad} failed: {reason}\n\n{images}"
    return gitops.message(subject, body, trailers)
