"""A revision is pulled and copied once, and only whole ones are used again."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import InputError, IntegrityError, ModelpackError, NotFoundError, RemoteError
from modelpack.reference import Reference
from modelpack.rehearse.revision import Revision, load, prepare
from tests.fakes import serving
from tests.fakes.serving import Shelf

PLAN = serving.plan("v1")


def prepared(folder: Path, shelf: Shelf, version: str = "v1") -> Revision:
    return prepare(PLAN, serving.image(version), folder, shelf.unpack, shelf.export)


def test_a_revision_is_prepared_once_and_loaded_as_it_was(tmp_path: Path) -> None:
    shelf = Shelf()
    revision = prepared(tmp_path, shelf)
    assert (revision.volumes / "model" / "model.json").exists()
    assert not (revision.folder / "image").exists()
    assert prepared(tmp_path, shelf) == load(PLAN.hash, tmp_path) == revision
    assert shelf.unpacked == ["v1"]


def test_what_kept_a_server_from_starting_may_be_mended_unless_it_serves(tmp_path: Path) -> None:
    shelf, export = Shelf(), Shelf.export
    broken = prepare(PLAN, serving.image("v1"), tmp_path, shelf.unpack, export)
    (broken.source / "serve.py").write_text("broken")
    for serves in (True, False):
        again = prepare(PLAN, serving.image("v1"), tmp_path, shelf.unpack, export, serves=serves)
        assert ((again.source / "serve.py").read_text() == "broken") is serves
    assert shelf.unpacked == ["v1"]


def test_another_image_under_the_same_template_is_pulled_anew(tmp_path: Path) -> None:
    shelf = Shelf()
    prepared(tmp_path, shelf)
    assert prepared(tmp_path, shelf, "v2").image == str(serving.image("v2"))
    assert shelf.unpacked == ["v1", "v2"]


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("echo 'no space' >&2; exit 10", RemoteError, "no space"),
        ("echo 'wrong size' >&2; exit 12", IntegrityError, "wrong size"),
        (None, InputError, "holds no /modelpack/copy.sh"),
    ],
)
def test_a_copy_that_fails_leaves_nothing_to_be_used(
    tmp_path: Path, script: str | None, kind: type[ModelpackError], words: str
) -> None:
    class Broken(Shelf):
        def unpack(self, reference: Reference, root: Path) -> None:
            super().unpack(reference, root)
            copy = root / "modelpack" / "copy.sh"
            copy.unlink() if script is None else copy.write_text(script)

    with pytest.raises(kind, match=words):
        prepared(tmp_path, Broken())
    with pytest.raises(NotFoundError, match="start anew"):
        load(PLAN.hash, tmp_path)
    prepared(tmp_path, Shelf())


def test_an_image_volume_is_unpacked_and_not_copied(tmp_path: Path) -> None:
    plan = serving.plan("v1", model=serving.MOUNTED_MODEL, deployment=serving.MOUNTED % f"{serving.IMAGE}:v1")
    shelf = Shelf()
    revision = prepare(plan, serving.image("v1"), tmp_path, shelf.unpack, shelf.export)
    assert {path.name for path in (revision.volumes / "model").iterdir()} == {"models", "modelpack"}
    assert (revision.workload.destination(revision.volumes) / "model.json").is_file()
    assert load(plan.hash, tmp_path) == revision


def test_a_sub_path_that_the_image_lacks_is_named(tmp_path: Path) -> None:
    wrong = serving.MOUNTED.replace("subPath: models", "subPath: model") % f"{serving.IMAGE}:v1"
    plan = serving.plan("v1", model=serving.MOUNTED_MODEL, deployment=wrong)
    with pytest.raises(InputError) as caught:
        prepare(plan, serving.image("v1"), tmp_path, Shelf().unpack, Shelf.export)
    wanted = "volume 'model' at /mnt/models: the image has no folder 'model'; mount subPath: models"
    assert str(caught.value) == wanted
    with pytest.raises(NotFoundError):
        load(plan.hash, tmp_path)
