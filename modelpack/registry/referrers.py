"""What refers to a manifest: lists of referrers, and the tag that keeps one where a registry has no API for it.

Source: OCI distribution specification 1.1, "Listing Referrers" and "Unavailable Referrers API". Pure: bytes in, bytes
out. A list is anybody's: what cannot be followed is passed over where it is read, and kept where it is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from modelpack import oci
from modelpack.errors import IntegrityError
from modelpack.registry.content import hexadecimal

MOST_REFERRERS = 10_000
_TAG = re.compile(r"sha256-[0-9a-f]{64}(\..*)?")


def fallback_tag(digest: str) -> str:
    """The tag under which a digest's referrers are listed where the registry does not list them itself."""
    return f"sha256-{hexadecimal(digest)}"


def is_fallback_tag(tag: str) -> bool:
    """Whether a tag is such a list, or one of those that cosign derives from a digest in the same way."""
    return _TAG.fullmatch(tag) is not None


def subject_of(manifest: oci.Manifest) -> oci.Descriptor:
    """What a referrer refers to; raises IntegrityError for a manifest that refers to nothing."""
    if manifest.subject is None:
        raise IntegrityError(manifest.digest, "refers to nothing: the manifest has no subject")
    return manifest.subject


def listed(manifest: oci.Manifest) -> list[oci.Descriptor]:
    """The referrers that a list, or a page of one, names."""
    found = []
    for each in _entries(manifest):
        try:
            found.append(oci.Descriptor.from_json(each))
        except oci.NOT_A_DESCRIPTOR:  # as of another hash
            continue
    return found


def of_type(found: Iterable[oci.Descriptor], artifact_type: str) -> tuple[oci.Descriptor, ...]:
    """Those of one type, each digest once; "" for any type."""
    distinct = {each.digest: each for each in found if artifact_type in ("", each.artifact_type)}
    return tuple(distinct.values())


def with_referrer(index: oci.Manifest | None, referrer: oci.Manifest) -> oci.Manifest | None:
    """The list with one referrer more; None if it is listed already."""
    entries = _entries(index) if index else []
    if any(isinstance(each, dict) and each.get("digest") == referrer.digest for each in entries):
        return None
    if len(entries) >= MOST_REFERRERS:
        raise IntegrityError(referrer.digest, f"cannot be listed: its subject has {MOST_REFERRERS} referrers")
    entry = replace(
        referrer.descriptor,
        artifact_type=referrer.artifact_type or referrer.config.media_type,
        annotations=referrer.annotations,
    )
    value = {"schemaVersion": 2, "mediaType": oci.IMAGE_INDEX, "manifests": [*entries, entry.to_json()]}
    return oci.Manifest(oci.canonical_json(value), oci.IMAGE_INDEX)


def _entries(index: oci.Manifest) -> list[Any]:
    entries = oci.read_json(index.raw, index.digest, "the list of referrers").get("manifests")
    if not index.is_index or not isinstance(entries, list | None):
        raise IntegrityError(index.digest, "stands where the list of referrers should be, and is no index")
    return entries or []  # an empty list is null to some registries
