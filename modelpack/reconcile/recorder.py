"""What a rollout came to, kept beside its image in the registry; and the gate is given the lineage of what it judges.

A rollout is recorded once it is over, and never again; both are remembered, so that a round without news says nothing
to anybody. A memory that is lost costs a repetition, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelpack import gitops
from modelpack.errors import InputError, ModelpackError
from modelpack.gitops import digest_of, version_of
from modelpack.gitops.commit import one_line
from modelpack.gitops.history import history
from modelpack.lineage import Commit
from modelpack.oci import canonical_json, is_digest
from modelpack.oci import digest_of as digest_of_bytes
from modelpack.reconcile.look import Rooms, Subject
from modelpack.reconcile.outcome import Outcome, failed
from modelpack.reconcile.rollouts import Gate, Rollout
from modelpack.reconcile.state import Memory
from modelpack.reference import Reference

RECORD = "record"
_ACTIVE = "active"
_HISTORY = 100  # commits that are looked at
_MOST_CHECKS = 50


def record(subject: Subject, repository: gitops.Repository, memory: Memory, rooms: Rooms) -> Iterator[Outcome]:
    """Record every ended rollout of a model, and tell the gate where the open ones come from.

    Raises RemoteError if the gate does not answer; one rollout that cannot be recorded stops no other.
    """
    gate = rooms.gate_of(subject)
    if gate is None:
        return
    for each in gate.of_model(subject.name):
        try:
            image = Reference.parse(each.image)
        except InputError:
            continue  # not bound yet, or no image of ours
        if not is_digest(image.digest) or image.name != subject.image.name:
            continue
        try:
            yield from _record(subject, each, image, gate, memory, rooms)
            if each.state == _ACTIVE:
                yield from _tell(subject, repository, each, image, gate, memory, rooms)
        except ModelpackError as error:
            yield failed(subject.name, RECORD, error)


def _record(
    subject: Subject, rollout: Rollout, image: Reference, gate: Gate, memory: Memory, rooms: Rooms
) -> Iterator[Outcome]:
    about = f"rollout {gate.page(rollout)} of {image.digest}"
    if rollout.state == _ACTIVE or not rollout.ended or memory.told(about):
        return
    from modelpack import lineage

    lineage.put_rollout(image, document(rollout, gate.report(rollout), gate.page(rollout)), rooms.via)
    memory.tell(about, rollout.state)
    words = f"{version_of(rollout.image)} was {rollout.state} ({rollout.verdict}), kept beside its image"
    yield Outcome(subject.name, RECORD, "recorded", words, run=rollout.id)


def document(rollout: Rollout, report: Mapping[str, Any], page: str) -> Mapping[str, Any]:
    """A rollout that is over, as it is kept; of the gate's report what each check said at the end."""
    words = ("id", "namespace", "name", "model", "image", "phase", "state", "verdict", "reason", "started", "ended")
    found = report.get("checks")
    checks = [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
    said = [{key: one_line(str(each.get(key, "")))[:500] for key in ("name", "verdict", "reason")} for each in checks]
    known = {key: getattr(rollout, key) for key in words}
    return {**known, "primary_image": rollout.primary, "page": page, "checks": said[:_MOST_CHECKS]}


def _tell(
    subject: Subject,
    repository: gitops.Repository,
    rollout: Rollout,
    image: Reference,
    gate: Gate,
    memory: Memory,
    rooms: Rooms,
) -> Iterator[Outcome]:
    from modelpack import lineage

    commits = commits_of(repository, subject.name, image.digest)
    value = lineage.chain(image, rooms.via, commits=commits).to_json()  # the gate knows its own rollouts
    what, about = digest_of_bytes(canonical_json(value)), f"lineage of {image.digest} to {gate.url}"
    if memory.told(about) == what:
        return
    gate.put_lineage(image.digest, value)
    memory.tell(about, what)
    words = f"the gate where {version_of(rollout.image)} comes from"
    yield Outcome(subject.name, RECORD, "told", words, run=rollout.id)


def commits_of(repository: gitops.Repository, model: str, digest: str) -> tuple[Commit, ...]:
    """The commits that named an image, newest first."""
    named = [each for each in history(repository, model, "", _HISTORY) if digest_of(each.new) == digest]
    return tuple(Commit(e.commit, float(e.at), e.environment, e.why, e.by, e.reason, e.report) for e in named)
