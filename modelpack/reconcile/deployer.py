"""Which version of a model is proposed to Git: pure, from what the registry and Git say.

The newest that passed the quality gate, if Git names an older one. Never a rejected one, never one that Git named
before and left, never an older one; and where an order cannot be told, none: that is a person's to say.
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
    what its evaluation says, None without one."""

    version: str
    image: str
    passed: bool | None
    model_digest: str = ""


@dataclass(frozen=True)
class State:
    """What the tip names: `named` are the images of the targets, `left` those that they had before."""

    named: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What to propose, None for nothing, and why in a few words."""

    candidate: Candidate | None
    reason: str


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
    for each in reversed(newer):
        refusal = _refusal(each, state)
        if not refusal:
            why = f"{each.version} passed, Git names {_names(state.named)}"
            return Decision(each, "; ".join((why, *refusals)))
        refusals.append(refusal)
    return Decision(None, "; ".join(refusals))


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


def _order_of(image: str, candidates: Iterable[Candidate]) -> tuple[int, ...] | None:
    """What a named image is compared by: its own version, else that of the same digest in the registry."""
    own = order(version_of(image))
    if own:
        return own
    same = (each.version for each in candidates if each.image and digest_of(each.image) == digest_of(image))
    return next((key for each in same if (key := order(each))), None)


def _names(images: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(version_of(each) for each in images))
