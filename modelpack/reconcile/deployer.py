"""Which version of a model is proposed to Git: pure, from what the registry and Git say.

The newest that passed the quality gate, if Git names an older one. Never a rejected one, never one that Git named
before and left, never an older one, never one that was held against another model than the one that Git names now; none
where the newest is the very model that Git names, and none where an order cannot be told: that is a person's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modelpack.definition import order
from modelpack.gitops.change import digest_of, version_of
from modelpack.gitops.models import Rejected


@dataclass(frozen=True)
class Candidate:
    """A version in the registry. `image` is its reference with digest, "" for one that was never packaged; `passed`
    what its evaluation says, None without one; `against` the version that it was held against, "" for none."""

    version: str
    image: str
    passed: bool | None
    model_digest: str = ""
    against: str = ""


@dataclass(frozen=True)
class State:
    """What the tip names: `named` are the images of the targets, `left` those that they had before. `unseen`: runs
    cannot see it, and hold candidates against nothing."""

    named: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...] = ()
    left: tuple[str, ...] = ()
    unseen: bool = False


@dataclass(frozen=True)
class Outdated:
    """A version that passed against another model than the image that is `named` now: it is to be held against that."""

    version: str
    against: str
    named: str

    @property
    def words(self) -> str:
        held = f"was held against {self.against}" if self.against else "was held against no model"
        return f"{self.version} {held}, and Git names {version_of(self.named) or 'nothing'} now"


@dataclass(frozen=True)
class Decision:
    """What to propose, None for nothing, and why in a few words; `outdated` is the newest that is refused for that."""

    candidate: Candidate | None
    reason: str
    outdated: Outdated | None = None


def decide(state: State) -> Decision:
    """The version that Git is to name."""
    if not state.named:
        return Decision(None, "Git names no version of it")
    now = [_order_of(each, state.candidates) for each in state.named]
    known = [each for each in now if each]
    passed = [each for each in state.candidates if each.passed]
    ordered = sorted((each for each in passed if order(each.version)), key=lambda each: order(each.version) or ())
    if not passed:
        return Decision(None, "no version of it has passed the quality gate")
    if not ordered:
        return Decision(None, f"{passed[-1].version} passed, but has no order among versions: bump it by hand")
    if len(known) < len(now):
        unknown = next(each for each, key in zip(state.named, now, strict=True) if not key)
        return Decision(None, f"Git names {version_of(unknown) or 'nothing'}, which has no order: bump it by hand once")
    newer = [each for each in ordered if _goes_forward(each, state.named, known)]
    if not newer:
        return Decision(None, _nothing_newer(ordered[-1], state.named, max(known)))
    refusals: list[str] = []
    outdated: Outdated | None = None
    for each in reversed(newer):
        refusal = _refusal(each, state)
        if not refusal and _is_named(each, state):
            refusals.append(f"{each.version} passed, and is the same model as {_names(state.named)}, which Git names")
            break
        if not refusal and not _is_held(each, state):
            late = Outdated(each.version, each.against, state.named[0])
            outdated, refusal = outdated or late, late.words
        if not refusal:
            why = f"{each.version} passed, Git names {_names(state.named)}"
            return Decision(each, "; ".join((why, *refusals)), outdated)
        refusals.append(refusal)
    return Decision(None, "; ".join(refusals), outdated)


def _goes_forward(candidate: Candidate, named: Sequence[str], known: Sequence[tuple[int, ...]]) -> bool:
    """Whether it is newer than what some target has and older than none; of the same version only the same image."""
    key, digest = order(candidate.version) or (), digest_of(candidate.image)
    level = all(digest_of(image) == digest for image, other in zip(named, known, strict=True) if other == key)
    return level and min(known) < key and max(known) <= key


def _nothing_newer(newest: Candidate, named: Sequence[str], highest: tuple[int, ...]) -> str:
    if order(newest.version) == highest:
        return f"Git names {newest.version}, the newest that passed"
    return f"Git names {_names(named)}, which is newer than {newest.version}, the newest that passed"


def _refusal(candidate: Candidate, state: State) -> str:
    """Why a newer version that passed is not to be proposed, "" if it is."""
    version, digest = candidate.version, digest_of(candidate.image)
    if not digest:
        return f"{version} passed, but is not in the registry"
    entry = next((each for each in state.rejected if each.names(digest, candidate.model_digest, version)), None)
    if entry:
        return f"{version} was rejected: {entry.reason or 'no reason given'}"
    if any(digest == digest_of(image) for image in state.left):
        return f"{version} was named before, and left: bump it by hand to name it again"
    return ""


def _is_named(candidate: Candidate, state: State) -> bool:
    """Whether every target has its model already, under another version."""
    alike = [each for each in state.candidates if each.image and each.model_digest == candidate.model_digest]
    return bool(candidate.model_digest) and all(any(_is_of(image, each) for each in alike) for image in state.named)


def _is_held(candidate: Candidate, state: State) -> bool:
    """Whether it was held against what is named first, as runs do it: that version, or another of the same model. An
    image that is none of the registry's models is held against by its name, or not at all."""
    now, version = state.named[0], version_of(state.named[0])
    current = next((each for each in state.candidates if each.image and _is_of(now, each)), None)
    if state.unseen or candidate.against == (current.version if current else version):
        return True
    if current is None:
        return not candidate.against
    known = (candidate, *(each for each in state.candidates if each.version == candidate.against))
    return bool(current.model_digest) and current.model_digest in (each.model_digest for each in known)


def _is_of(image: str, candidate: Candidate) -> bool:
    digest = digest_of(image)
    return digest == digest_of(candidate.image) if digest else version_of(image) == candidate.version


def _order_of(image: str, candidates: Iterable[Candidate]) -> tuple[int, ...] | None:
    """What a named image is compared by: its own version, else that of the same digest in the registry."""
    own = order(version_of(image))
    if own:
        return own
    same = (each.version for each in candidates if each.image and digest_of(each.image) == digest_of(image))
    return next((key for each in same if (key := order(each))), None)


def _names(images: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(version_of(each) for each in images))
