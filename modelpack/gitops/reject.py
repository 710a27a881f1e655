"""rejected.yaml by a person's word: an entry more, or an entry less, in a commit that says why.

An entry's bytes go exactly as they came; whatever stands around it stays.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from modelpack.errors import NotFoundError
from modelpack.gitops.automation import pause
from modelpack.gitops.change import Change, Draft, Wanted
from modelpack.gitops.commit import message, one_line
from modelpack.gitops.models import Rejected, by_image, by_name, rejected, with_rejected
from modelpack.gitops.repository import Repository
from modelpack.reference import Reference
from modelpack.yamledit import drop


def propose_reject(tip: Repository, wanted: Wanted, reason: str) -> Change:
    """Record a version as rejected; a change without files if its digest is recorded already.

    `wanted.reference` has a digest. Raises NotFoundError for an image of no model.
    """
    model, reference = by_image(tip, wanted.reference), wanted.reference
    version = reference.tag or wanted.version
    image = str(reference.at(tag=version, digest=reference.digest))
    draft = Draft(tip)
    if not any(each.names(reference.digest, wanted.model_digest) for each in rejected(tip, model)):
        at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = Rejected(wanted.model_digest, image, version, "", one_line(reason), at)
        draft.write(model.rejected_path, with_rejected(draft.read(model.rejected_path), model.rejected_path, entry))
        pause(draft, model)
    text = message(
        f"{model.name}: reject {version or reference.digest[:19]}",
        f"{reason}\n\nRejected image: {image}",
        {"Model": model.name, "Rejected-Digest": reference.digest, "Rejected-Model-Digest": wanted.model_digest},
    )
    return Change(model.name, image, image, text, draft.files, style=replace(model.definition.commit, message=""))


def propose_unreject(tip: Repository, what: str | Reference, name: str, reason: str) -> Change:
    """Take the entries out that are about `what`: an image, or a version or digest of the model called `name`.

    Raises NotFoundError, which says what is rejected, if there is none.
    """
    model = by_image(tip, what) if isinstance(what, Reference) else by_name(tip, name)
    entries = rejected(tip, model)
    found = [number for number, entry in enumerate(entries) if _about(entry, what)]
    if not found:
        there = ", ".join(each.label or each.model or each.image for each in entries)
        remedy = f"rejected there: {there}" if there else "nothing is rejected there"
        raise NotFoundError(f"{model.name} {what}", f"{model.rejected_path} has no such entry", remedy)
    draft = Draft(tip)
    data = draft.read(model.rejected_path) or b""
    for number in reversed(found):
        data = drop(data, model.rejected_path, number)
    draft.write(model.rejected_path, data)
    gone = [entries[number] for number in found]
    labels = ", ".join(dict.fromkeys(each.label or each.model[:19] for each in gone))
    body = "\n".join([reason, "", *(f"Was rejected: {each.image or each.label}" for each in gone)])
    digest = next((each.image.partition("@")[2] for each in gone if "@" in each.image), "")
    trailers = {"Model": model.name, "Unrejected-Digest": digest, "Reason": one_line(reason)}
    return Change(
        model.name,
        gone[0].image,
        gone[0].image,
        message(f"{model.name}: lift the rejection of {labels}", body, trailers),
        draft.files,
        style=replace(model.definition.commit, message=""),
    )


def _about(entry: Rejected, what: str | Reference) -> bool:
    if isinstance(what, Reference):
        return entry.names(what.digest, "", what.tag) if what.digest else bool(what.tag) and what.tag == entry.label
    return what in (entry.label, entry.model) or (what.startswith("sha256:") and entry.names(what))
