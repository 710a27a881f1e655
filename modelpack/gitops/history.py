"""What Git says a model's environments named, when, why it changed, and who decided: from its commits alone.

`tell` is pure: from how things stood after each commit to what each commit did. A pull request is told as its merge;
why it was opened is read from the commit that it brought in. What a commit says about itself counts only where it fits
what the commit did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from modelpack.definition import Definition, parse
from modelpack.errors import ModelpackError, NotFoundError
from modelpack.gitops import log
from modelpack.gitops.change import digest_of, version_of
from modelpack.gitops.log import Commit
from modelpack.gitops.models import REJECTED, ROOT, Model, Rejected, by_name, read_rejected
from modelpack.gitops.place import whole
from modelpack.gitops.repository import Repository
from modelpack.target import Target
from modelpack.yamledit import find

_WINDOW = 200  # commits whose files are read in one go
_OURS = re.compile(
    r"^(Model|Version|Digest|Report|Reason|Rollout|Verdict|Rejected-Digest|Rolled-Back-Digest|Promoted-From)"
    r": (.*\S)[ \t]*$",
    re.MULTILINE,
)
_ROLLBACK = re.compile(r"\S+: roll back ")  # what a rollback said before it had a trailer
_AUTOMATION = re.compile(r"flux|argocd|image-?(updater|automation)|renovate|dependabot", re.IGNORECASE)

Place = tuple[str, int]
"""An environment, "" where the model has none, and which of its targets."""
Step = tuple[str, str, str, str]
"""What a commit did: its id, the environment, the image before, the image after."""


@dataclass(frozen=True)
class Snapshot:
    """How a model stood after a commit: the images at its places, None where nobody can tell; its rejected versions,
    None where rejected.yaml could not be read."""

    commit: Commit
    images: Mapping[Place, str | None]
    rejected: tuple[Rejected, ...] | None = ()


@dataclass(frozen=True)
class Entry:
    """What one commit did to one environment. `old` and `new` are images, "" for none, both "" where only rejected.yaml
    changed; `why` is one of bump, rollback, revert, promotion, automation, edit, reject, unreject; `by` decided, and
    `committer` wrote it down if that is somebody else; `report` is an address, "" for none."""

    commit: str
    at: int
    environment: str
    old: str
    new: str
    why: str
    by: str
    committer: str = ""
    reason: str = ""
    report: str = ""
    rejected: tuple[Rejected, ...] = ()
    lifted: tuple[Rejected, ...] = ()
    subject: str = field(default="", compare=False)


def tell(snapshots: Iterable[Snapshot]) -> Iterator[Entry]:
    """What happened, newest first, from snapshots in that order.

    A place that cannot be read after some commit is told as changed by the next one after which it can.
    """
    newest: dict[Place, tuple[str, Commit]] = {}
    bad: tuple[tuple[Rejected, ...], Commit] | None = None
    for snapshot in snapshots:
        steps: dict[Step, Commit] = {}
        for place, (image, commit) in newest.items():
            before = snapshot.images.get(place, "")
            if before is not None and before != image and (before or not _elsewhere(snapshot, place, image)):
                steps.setdefault((commit.id, place[0], before, image), commit)
        added, lifted, writer = _turned(bad, snapshot.rejected)
        yield from _entries(_distinct(steps), added, lifted, writer)
        for place, now in snapshot.images.items():
            if now is not None:
                newest[place] = (now, snapshot.commit)
        for place in [each for each in newest if each not in snapshot.images]:
            del newest[place]
        if snapshot.rejected is not None:
            bad = (snapshot.rejected, snapshot.commit)
    first = {(commit.id, place[0], "", image): commit for place, (image, commit) in newest.items() if image}
    added, lifted, writer = _turned(bad, ())
    yield from _entries(_distinct(first), added, lifted, writer)


def _distinct(steps: Mapping[Step, Commit]) -> dict[Step, Commit]:
    """The steps without those of targets that hold a tag alone, where another target tells the same with its digest."""
    whole = {_versions(step) for step in steps if digest_of(step[3])}
    return {step: commit for step, commit in steps.items() if digest_of(step[3]) or _versions(step) not in whole}


def _versions(step: Step) -> tuple[str, str, str, str]:
    commit, environment, old, new = step
    return commit, environment, version_of(old), version_of(new)


def _elsewhere(snapshot: Snapshot, place: Place, image: str) -> bool:
    """Whether a target that was not there yet joined others of its environment that named the same image."""
    return any(known == image for other, known in snapshot.images.items() if other[0] == place[0])


def _turned(
    after: tuple[tuple[Rejected, ...], Commit] | None, before: tuple[Rejected, ...] | None
) -> tuple[tuple[Rejected, ...], tuple[Rejected, ...], Commit | None]:
    """What was rejected and what was lifted between two states, and by which commit."""
    if after is None or before is None:
        return (), (), None
    entries, commit = after
    return tuple(x for x in entries if x not in before), tuple(x for x in before if x not in entries), commit


def _entries(
    steps: Mapping[Step, Commit],
    added: tuple[Rejected, ...],
    lifted: tuple[Rejected, ...],
    writer: Commit | None,
) -> Iterator[Entry]:
    told = False
    for (commit_id, environment, old, new), commit in steps.items():
        with_it = writer is not None and writer.id == commit_id
        told |= with_it
        turned = (added, lifted) if with_it else ((), ())
        yield _entry(commit, environment, old, new, *turned)
    if writer is not None and (added or lifted) and not told:
        yield _entry(writer, "", "", "", added, lifted)


def _entry(
    commit: Commit, environment: str, old: str, new: str, added: tuple[Rejected, ...], lifted: tuple[Rejected, ...]
) -> Entry:
    said = _said(commit.message, new) or _said(commit.merged, new)
    subject = commit.message.partition("\n")[0]
    why = _why(commit, said, old, new, added)
    reason = said.get("Reason", "") or next((each.reason for each in added if each.reason), "")
    rollout = said.get("Rollout", "") if why in ("revert", "reject") else ""
    judge = "Flagger" if rollout and said.get("Verdict", "reject") != "reject" else "gate"
    return Entry(
        commit.id,
        commit.at,
        environment,
        old,
        new,
        why,
        by=f"{judge} ({rollout})" if rollout and not commit.merged else commit.author,
        committer=commit.committer if commit.committer_email != commit.author_email else "",
        reason=reason,
        report=said.get("Report", ""),
        rejected=added,
        lifted=lifted,
        subject=subject,
    )


def _said(text: str, image: str) -> dict[str, str]:
    """The trailers of a message; of those that each model of a commit has, the ones about this image."""
    blocks: list[dict[str, str]] = [{}]
    for key, value in _OURS.findall(text):
        if key == "Model":
            blocks.append({})
        blocks[-1].setdefault(key, value)
    about = next((each for each in blocks if each.get("Digest") and _names(each, image)), {})
    return {key: value for each in reversed(blocks) for key, value in each.items()} | about


def _names(said: Mapping[str, str], image: str) -> bool:
    """Whether trailers are about an image; of one without a digest the version has to do."""
    digest = digest_of(image)
    return said.get("Digest") == digest if digest else said.get("Version") == version_of(image)


def _why(commit: Commit, said: Mapping[str, str], old: str, new: str, added: tuple[Rejected, ...]) -> str:
    if not new and not old:
        return "reject" if added else "unreject"
    if digest_of(old) and said.get("Rejected-Digest") == digest_of(old):
        return "revert"
    if new and _names(said, new):
        if said.get("Promoted-From"):
            return "promotion"
        words = (commit.message, commit.merged)
        back = said.get("Rolled-Back-Digest") or any(_ROLLBACK.match(each) for each in words)
        return "rollback" if back else "bump"
    people = (commit.author, commit.author_email, commit.committer, commit.committer_email)
    return "automation" if any(_AUTOMATION.search(each) for each in people) else "edit"


# --- the rim


def history(repository: Repository, name: str, environment: str = "", limit: int = 0) -> tuple[Entry, ...]:
    """The newest `limit` entries of a model's history, 0 for all; may fetch the branch's whole history.

    Raises NotFoundError for a model or an environment that the tip does not know.
    """
    model = by_name(repository, name)
    known = [each.name for each in model.definition.environments]
    if environment and environment not in known:
        there = f"known there: {', '.join(known)}" if known else "it has no environments"
        raise NotFoundError(f"{name} in {environment}", f"{model.folder}/model.yaml has no such environment", there)
    entries = (
        each
        for each in tell(_Past(repository, model).snapshots())
        if not environment or each.environment == environment or not (each.old or each.new)
    )
    return tuple(islice(entries, limit or None))


class _Past:
    """Reads a model's files as they were, each version of each once."""

    def __init__(self, repository: Repository, model: Model) -> None:
        self._repository = repository
        self._model = model
        self._bytes: dict[str, bytes] = {}
        self._images: dict[tuple[str, Target], str | None] = {}
        self._rejected: dict[str, tuple[Rejected, ...] | None] = {}
        self._definitions: dict[str, Definition | None] = {}

    def snapshots(self) -> Iterator[Snapshot]:
        """How the model stood after each commit that touched any of its files, newest first."""
        named = self._model_yamls()
        rejected = [f"{path.rpartition('/')[0]}/{REJECTED}" for path in named]
        targets = [target.file for each in self._definitions.values() if each for _, target in _places(each)]
        paths = list(dict.fromkeys([*named, *rejected, *targets]))
        files = {path: self._repository.object_at(path) for path in paths}
        commits = list(log.parse(self._repository.log(paths, "--no-renames")))
        latest = self._model.definition
        for start in range(0, len(commits), _WINDOW):
            window = []
            for commit, changes in commits[start : start + _WINDOW]:
                window.append((commit, dict(files)))
                files |= {each.path: each.before for each in changes if each.path in files}
            self._fetch([each for _, then in window for each in then.values()])
            merged = self._merged([commit for commit, _ in window])
            for commit, then in window:
                there = next((then[path] for path in named if then[path]), "")
                latest = self._definitions.get(there) or latest
                yield Snapshot(
                    replace(commit, merged=merged.get(commit.id, "")),
                    {
                        place: self._image(then.get(target.file, ""), target, latest)
                        for place, target in _places(latest)
                    },
                    self._entries(next((then[path] for path in rejected if then[path]), "")),
                )

    def _model_yamls(self) -> list[str]:
        """The paths that model.yaml has had, newest first, renames of its folder followed; all versions are read."""
        path = f"{self._model.folder}/model.yaml"
        paths, versions = [path], [self._repository.object_at(path)]
        for _, changes in log.parse(self._repository.log([ROOT], "--find-renames")):
            for each in changes:
                if each.path == paths[-1]:
                    versions += [each.before, each.after]
                    if each.renamed_from and each.renamed_from not in paths:
                        paths.append(each.renamed_from)
                        break
        self._fetch(versions)
        for version in filter(None, versions):
            try:
                self._definitions[version] = parse(self._bytes[version], path)
            except ModelpackError:
                self._definitions[version] = None
        return paths

    def _fetch(self, objects: Sequence[str]) -> None:
        lacking = [each for each in dict.fromkeys(objects) if each and each not in self._bytes]
        self._bytes |= dict(zip(lacking, self._repository.contents(lacking), strict=True))

    def _merged(self, commits: Sequence[Commit]) -> dict[str, str]:
        """The message of what each merge brought in last."""
        merges = {each.id: each.parents[1] for each in commits if len(each.parents) > 1}
        found = self._repository.objects(list(merges.values()))
        texts = ((data or b"").decode(errors="replace").partition("\n\n")[2].strip() for data in found)
        return dict(zip(merges, texts, strict=True))

    def _image(self, version: str, target: Target, definition: Definition) -> str | None:
        if not version:
            return None
        key = (version, target)
        if key not in self._images:
            try:
                self._images[key] = whole(find(self._bytes[version], target.file, target).value, definition.image)
            except ModelpackError:
                self._images[key] = None
        return self._images[key]

    def _entries(self, version: str) -> tuple[Rejected, ...] | None:
        if version not in self._rejected:
            try:
                self._rejected[version] = read_rejected(self._bytes[version], REJECTED) if version else ()
            except ModelpackError:
                self._rejected[version] = None
        return self._rejected[version]


def _places(definition: Definition) -> list[tuple[Place, Target]]:
    if not definition.environments:
        return [(("", number), target) for number, target in enumerate(definition.targets)]
    return [
        ((environment.name, number), target)
        for environment in definition.environments
        for number, target in enumerate(environment.targets)
    ]
