"""Tags and referrers of real registries, with the API for it and without, and of layouts on disk."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from modelpack import oci
from modelpack.errors import NotFoundError, RefusedError
from modelpack.reference import Reference
from modelpack.registry import LayoutRepository, Repository
from modelpack.registry.referrers import fallback_tag
from modelpack.registry.remote import RemoteRepository
from tests.fakes.artifacts import artifact, push

WITHOUT_API = ["registry", "registry_v3", "layout"]
PLACES = [*WITHOUT_API, "registry_referrers"]  # which itself loses some of those that come at once
KIND = "application/vnd.example.note+json"
ATTACH = """
import sys
from pathlib import Path
from modelpack.reference import Reference
from modelpack.registry import Via, open_repository
from tests.integration.test_referrers import note
image, rule, digest, name = sys.argv[1:]
repository = open_repository(Reference.parse(image), Via.parse(*filter(None, [rule])))
for number in range(5):
    repository.attach(note(repository, digest, f"{name}-{number}"))
"""


def note(repository: Repository, digest: str, text: str, kind: str = KIND) -> oci.Manifest:
    """A referrer with an annotation; its blob is stored, the manifest is still to be attached."""
    empty = oci.Blob(b"{}", oci.EMPTY)
    repository.push_layer(empty)
    value = {
        "schemaVersion": 2,
        "mediaType": oci.IMAGE_MANIFEST,
        "artifactType": kind,
        "config": empty.descriptor.to_json(),
        "layers": [empty.descriptor.to_json()],
        "subject": repository.manifest(digest).descriptor.to_json(),
        "annotations": {"text": text},
    }
    return oci.Manifest(oci.canonical_json(value), oci.IMAGE_MANIFEST)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """An image's name, and the via rule it needs."""
    name = f"referrers/{tmp_path.name.replace('_', '-').lower().rstrip('-')}"
    if request.param == "layout":
        return f"registry.local/{name}", f"registry.local/=oci:{tmp_path}/var"
    return f"{request.getfixturevalue(request.param).address}/{name}", ""


@pytest.fixture
def repository(place: tuple[str, str]) -> Repository:
    from modelpack.registry import Via, open_repository

    return open_repository(Reference.parse(place[0]), Via.parse(*filter(None, place[1:])))


def texts(repository: Repository, digest: str, kind: str = "") -> list[str]:
    return sorted(each.annotations["text"] for each in repository.referrers(digest, kind))


def test_tags_and_referrers(repository: Repository) -> None:
    with suppress(NotFoundError):  # some registries have every repository
        assert repository.tags() == ()
    whole = artifact()
    push(whole, repository, "v1")
    assert sorted(repository.tags()) == ["v1", "v1-modelpack"]
    digest = whole.index.digest
    assert repository.referrers(digest) == ()
    first, other = note(repository, digest, "first"), note(repository, digest, "other", "application/vnd.example.other")
    for each in (first, other, first):
        repository.attach(each)
    assert texts(repository, digest) == ["first", "other"]
    assert texts(repository, digest, KIND) == ["first"]
    assert texts(repository, digest, "application/none") == []
    (found,) = repository.referrers(digest, KIND)
    assert (found.digest, found.size, found.artifact_type) == (first.digest, len(first.raw), KIND)
    assert repository.manifest(found.digest).subject == repository.manifest(digest).descriptor
    assert repository.referrers(whole.images[0].digest) == ()


@pytest.mark.parametrize(
    ("place", "tagged"), [*((each, each != "registry_referrers") for each in PLACES)], indirect=["place"]
)
def test_only_what_keeps_no_list_of_referrers_gets_a_tag_for_it(repository: Repository, tagged: bool) -> None:
    push(artifact(), repository, "v1")
    digest = repository.manifest("v1").digest
    repository.attach(note(repository, digest, "text"))
    assert (fallback_tag(digest) in repository.tags()) is tagged


@pytest.mark.parametrize("place", WITHOUT_API, indirect=True)
def test_no_referrer_is_lost_where_processes_attach_at_once(
    repository: Repository, place: tuple[str, str], tmp_path: Path
) -> None:
    push(artifact(), repository, "v1")
    digest = repository.manifest("v1").digest
    names = ["one", "two", "three"]
    argv = [sys.executable, "-c", ATTACH, *place, digest]
    processes = [subprocess.Popen([*argv, name], cwd=Path(__file__).parents[2]) for name in names]
    assert [each.wait(120) for each in processes] == [0, 0, 0]
    assert texts(repository, digest) == sorted(f"{name}-{number}" for name in names for number in range(5))


@pytest.mark.parametrize("place", WITHOUT_API, indirect=True)
def test_no_referrer_is_lost_where_threads_attach_at_once(repository: Repository) -> None:
    push(artifact(), repository, "v1")
    digest = repository.manifest("v1").digest
    notes = [note(repository, digest, f"{number}") for number in range(8)]
    with ThreadPoolExecutor(len(notes)) as threads:
        list(threads.map(repository.attach, notes))
    assert len(texts(repository, digest)) == len(notes)


def test_more_tags_than_a_page(registry_referrers: object, registry: object, tmp_path: Path) -> None:
    for server in (registry_referrers, registry):
        repository = RemoteRepository(Reference.parse(f"{server.address}/referrers/many-tags"))  # type: ignore[attr-defined]
        whole = artifact()
        push(whole, repository, "v0")
        for number in range(1, 30):
            repository.push_manifest(whole.index, f"v{number}")
        assert sorted(each for each in repository.tags() if "-" not in each) == sorted(f"v{n}" for n in range(30))


def test_a_login_is_asked_for(
    registry_login: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    address, user, password = (getattr(registry_login, each) for each in ("address", "user", "password"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    image = Reference.parse(f"{address}/referrers/login")
    with pytest.raises(RefusedError):
        RemoteRepository(image).tags()
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
    repository = RemoteRepository(image)
    push(artifact(), repository, "v1")
    digest = repository.manifest("v1").digest
    repository.attach(note(repository, digest, "kept"))
    assert texts(repository, digest) == ["kept"]
    assert fallback_tag(digest) in repository.tags()


def test_skopeo_reads_a_layout_with_a_list_of_referrers(tmp_path: Path) -> None:
    import shutil

    skopeo = shutil.which("skopeo")
    if not skopeo:
        pytest.skip("skopeo is not here; install it: apt-get install skopeo")
    ours = LayoutRepository(tmp_path / "ours")
    push(artifact(), ours, "v1")
    digest = ours.manifest("v1").digest
    ours.attach(note(ours, digest, "text"))
    tag = fallback_tag(digest)
    read = subprocess.run([skopeo, "inspect", "--raw", f"oci:{ours.path}:{tag}"], check=True, capture_output=True)
    assert read.stdout == ours.manifest(tag).raw
    argv = [skopeo, "copy", "--quiet", "--all", "--preserve-digests", f"oci:{ours.path}:v1"]
    subprocess.run([*argv, f"oci:{tmp_path}/theirs:v1"], check=True)
