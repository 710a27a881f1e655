"""The test cluster's images: named as the manifests name them, not root, with nothing in them to build with."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpack.image.unpack import members
from modelpack.registry import LayoutRepository
from tests.cluster import images
from tests.cluster.dockerfiles import BASE, KEPT_SECONDS, ROOT, STAGE, TAG, Kept, buildah, built, keep, tidy
from tests.integration.conftest import available
from tests.integration.servers.process import ServerError


@pytest.fixture(name="layouts", scope="module")
def _layouts() -> Iterator[dict[str, Path]]:
    with available(lambda: nullcontext(images.layouts())) as made:
        yield made


def config(folder: Path) -> dict[str, Any]:
    repository = LayoutRepository(folder)
    blob = repository.manifest(TAG).config
    found = json.loads(b"".join(bytes(each) for each in repository.read_blob(blob.digest, blob.size)))
    return dict(found["config"])


def installed() -> set[str]:
    """What the manifests pull, without the registry's host; training's image is made when a test asks for it."""
    deployment = yaml.safe_load((ROOT / "manifests" / "mpg" / "deployment.yaml").read_text())
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    named = images.versions()
    return {*named.values(), server["image"].partition("/")[2]} - {named["train"]}


def test_every_image_of_the_manifests_is_there(layouts: dict[str, Path]) -> None:
    assert layouts.keys() >= installed()


def test_none_of_them_runs_as_root(layouts: dict[str, Path]) -> None:
    users = {name: config(layouts[name])["User"] for name in installed()}
    assert {name for name, user in users.items() if int(user.partition(":")[0]) < 1000} == set()


@pytest.mark.parametrize("place", ["modelpack", "server"])
def test_what_the_built_ones_hold(layouts: dict[str, Path], place: str) -> None:
    name = images.SERVER if place == "server" else images.versions()[place]
    repository = LayoutRepository(layouts[name])
    paths: set[str] = set()
    for layer in repository.manifest(TAG).layers:
        paths |= {each.name.removeprefix("./") for each in members(repository.read_blob(layer.digest, layer.size))}
    assert {"modelpack": "venv/bin/modelpack", "server": "app/serve.py"}[place] in paths
    tools = {path for path in paths if re.search(r"bin/(pip3?|gcc|cc|make|ld)$", path)}
    left = {path for path in paths if path.startswith(("tools/", "src/", "wheels/", "root/.cache/"))}
    assert not tools | left


# -- what is kept


@pytest.fixture(autouse=True)
def _own_cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "layouts" not in request.fixturenames:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def making(made: list[Kept], seconds: float = 0) -> Any:
    def make(kept: Kept) -> None:
        kept.folder.mkdir()
        (kept.folder / "half").touch()
        time.sleep(seconds)
        (kept.folder / "half").rename(kept.folder / "whole")
        made.append(kept)

    return make


def test_the_same_is_made_once_and_a_change_again() -> None:
    made: list[Kept] = []
    first = keep("some", "a" * 16, making(made))
    assert keep("some", "a" * 16, making(made)) == first
    second = keep("some", "b" * 16, making(made))
    assert (len(made), made[1].earlier) == (2, first)
    assert first.exists() and second.exists()


def test_what_broke_is_not_kept() -> None:
    def broken(kept: Kept) -> None:
        making([])(kept)
        raise ServerError("broken")

    with pytest.raises(ServerError):
        keep("some", "a" * 16, broken)
    made: list[Kept] = []
    keep("some", "a" * 16, making(made))
    assert made


def test_two_at_a_time_make_it_once_and_neither_sees_half() -> None:
    made: list[Kept] = []
    whole: list[bool] = []

    def run() -> None:
        whole.append((keep("some", "a" * 16, making(made, 0.2)) / "whole").exists())

    threads = [threading.Thread(target=run) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (len(made), whole) == (1, [True, True, True])


def test_an_old_one_goes_when_nobody_used_it_for_a_while() -> None:

    made: list[Kept] = []
    old, used = (keep("some", key * 16, making(made)) for key in "ab")
    before = time.time() - KEPT_SECONDS - 1
    os.utime(old, (before, before))
    keep("some", "c" * 16, making(made))
    assert (old.exists(), used.exists()) == (False, True)


DOCKERFILE = f"""\
ARG BASE
FROM ${{BASE}} AS {STAGE}
COPY downloaded /downloaded
FROM ${{BASE}}
COPY --from={STAGE} /downloaded /
COPY source /
"""


def test_what_was_downloaded_outlives_what_was_built_of_it(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "downloaded").touch()
    with available(lambda: nullcontext(buildah("from", "scratch"))) as container:
        buildah("commit", "--quiet", "--rm", container, BASE)
    for source in ("one", "two"):
        (tmp_path / "source").write_text(source)
        with (tmp_path / "Dockerfile").open("a") as file:
            file.write(f"LABEL source={source}\n")
        built("some", tmp_path / "Dockerfile", tmp_path, [])
    before = ids()
    assert "<none>" in before
    tidy(0)
    wanted = {"localhost/some", f"localhost/some-{STAGE}", BASE}
    assert ids() == {name: before[name] for name in wanted}


def ids() -> dict[str, str]:
    return dict(line.split() for line in buildah("images", "--noheading", "--format={{.Name}} {{.ID}}").splitlines())
