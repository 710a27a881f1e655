"""Manifests are written by others: whatever they hold is a value or an IntegrityError."""

from __future__ import annotations

from typing import Any

import pytest

from modelpack.errors import IntegrityError
from modelpack.oci import IMAGE_INDEX, Manifest, canonical_json
from modelpack.registry.content import read_manifest

ENTRY = {"mediaType": IMAGE_INDEX, "digest": "sha256:" + "0" * 64, "size": 1}


def index_of(**changes: Any) -> Manifest:
    return Manifest(canonical_json({"manifests": [{**ENTRY, **changes}]}), IMAGE_INDEX)


def test_a_descriptor_comes_back_as_it_was() -> None:
    assert index_of().manifests[0].to_json() == ENTRY


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "v1"},
        {"digest": "../../tags/list"},
        {"digest": "sha256:" + "A" * 64},
        {"size": -1},
        {"size": "1"},
        {"size": True},
        {"size": 1e999},
        {"platform": "linux"},
        {"annotations": [1]},
    ],
    ids=str,
)
def test_what_is_no_descriptor(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="are not descriptors"):
        _ = index_of(**changes).manifests


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b'{"a":' + b"[" * 200_000])
def test_what_is_no_manifest(raw: bytes) -> None:
    with pytest.raises(IntegrityError, match="is not"):
        read_manifest(raw, "registry.local/m:v1")


def test_annotations_that_are_none() -> None:
    with pytest.raises(IntegrityError, match="annotations"):
        _ = Manifest(b'{"annotations": [1]}', IMAGE_INDEX).annotations
