"""What is called by its digest is asked for once; a disk that does not play along changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelpack import oci
from modelpack.errors import NotFoundError
from modelpack.lineage.remembering import Remembering
from modelpack.registry import LayoutRepository


class Counting(LayoutRepository):
    """A layout that counts what it is asked by digest, and by tag."""

    asked = 0

    def manifest(self, locator: str) -> oci.Manifest:
        self.asked += 1
        return super().manifest(locator)

    def read_blob(self, digest: str, size: int) -> Iterator[memoryview]:
        self.asked += 1
        return super().read_blob(digest, size)


@pytest.fixture
def place(tmp_path: Path) -> Counting:
    place = Counting(tmp_path / "layout")
    empty = oci.Blob(b"{}", oci.EMPTY)
    place.push_layer(empty)
    for name in ("one", "two", "three"):
        value = {
            "schemaVersion": 2,
            "mediaType": oci.IMAGE_MANIFEST,
            "config": empty.descriptor.to_json(),
            "layers": [],
            "annotations": {"name": name},
        }
        place.push_manifest(oci.Manifest(oci.canonical_json(value), oci.IMAGE_MANIFEST), name)
    return place


def test_a_manifest_and_a_blob_are_asked_for_once_and_a_tag_each_time(place: Counting, tmp_path: Path) -> None:
    one = place.manifest("one")
    place.asked = 0
    for _ in range(3):
        seen = Remembering(place, tmp_path / "cache")  # as another process would
        assert seen.manifest(one.digest) == one
        assert b"".join(map(bytes, seen.read_blob(one.config.digest, one.config.size))) == b"{}"
    assert place.asked == 2
    assert [seen.manifest("one").digest for _ in range(2)] == [one.digest] * 2 and place.asked == 4


def broken(path: Path, how: str) -> None:
    if how == "other bytes":
        path.write_bytes(b"{}")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
        path.symlink_to("/dev/zero" if how == "endless" else path)


@pytest.mark.parametrize("how", ["other bytes", "cut", "a folder", "endless", "a loop"])
def test_an_entry_that_is_broken_counts_for_nothing(place: Counting, tmp_path: Path, how: str) -> None:
    one = place.manifest("one")
    seen = Remembering(place, tmp_path / "cache")
    seen.manifest(one.digest)
    (entry,) = (tmp_path / "cache").iterdir()
    broken(entry, how)
    assert seen.manifest(one.digest) == one


def test_where_nothing_can_be_kept_all_is_asked_for(place: Counting, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    one = place.manifest("one")
    assert [Remembering(place, tmp_path / "cache").manifest(one.digest) for _ in range(2)] == [one] * 2


def test_what_is_not_there_is_not_kept(place: Counting, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Remembering(place, tmp_path / "cache").manifest(oci.digest_of(b"nothing"))
    assert not (tmp_path / "cache").exists()


def test_what_was_not_read_for_longest_goes_when_there_is_too_much(place: Counting, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    kept = [place.manifest(each) for each in ("one", "two", "three")]
    for number, each in enumerate(kept):
        Remembering(place, cache).manifest(each.digest)
        os.utime(cache / each.digest.removeprefix("sha256:"), (number, number))
    full = Remembering(place, cache, most=len(kept[0].raw) * 2)
    full.manifest(kept[0].digest)  # read again, the oldest is the newest
    list(full.read_blob(kept[0].config.digest, 2))
    names = {f"sha256:{each.name}" for each in cache.iterdir()}
    assert names == {kept[0].digest, kept[0].config.digest}


def test_many_that_write_at_once_leave_whole_entries_alone(place: Counting, tmp_path: Path) -> None:
    one = place.manifest("one")
    seen = [Remembering(place, tmp_path / "cache") for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda each: each.manifest(one.digest), seen * 5)) == [one] * 40
    (entry,) = (tmp_path / "cache").iterdir()
    assert entry.read_bytes() == one.raw
