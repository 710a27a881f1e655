"""Flux's image automation beside us: what we took back it does not bring back, and after a bump it acts again.

Its part is played by kyaml's setters, the library that it is built on, which write a policy's newest image into marked
files as Flux does before it commits.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.gitops.reject import propose_reject, propose_unreject
from modelpack.reconcile.settle import settle_once
from modelpack.registry import Via
from tests.fakes import git_serving as serving
from tests.fakes.gate import fake_gate
from tests.fakes.git_serving import DEPLOYMENT
from tests.integration.conftest import available
from tests.integration.servers.gotools import go_tool

MARK = '# {"$imagepolicy": "flux-system:mpg"}'
PAUSED = '# paused {"$imagepolicy": "flux-system:mpg"}'
Automate = Callable[[str], bool]


@pytest.fixture(scope="module")
def setters() -> Iterator[Path]:
    def tool() -> AbstractContextManager[Path]:
        return nullcontext(go_tool("flux-setters"))

    with available(tool) as program:
        yield program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A work tree that serves v1, whose line has a policy's marker, and an image policy that follows the newest tag."""
    folder = serving.worktree(tmp_path / "work", "v1")
    text = serving.served(folder).replace("# what a bump rewrites", MARK)
    serving.commit(folder, {DEPLOYMENT: text})
    return folder


@pytest.fixture
def automate(setters: Path, folder: Path) -> Automate:
    """One round of image automation with a newest version; whether it changed anything, which it commits."""

    def automate(newest: str) -> bool:
        files = [str(each) for each in folder.rglob("*.yaml")]
        policy = f"flux-system:mpg={serving.image(newest)}"
        done = subprocess.run([setters, policy, *files], check=True, capture_output=True, text=True, timeout=60)
        if done.stdout:
            serving.commit(folder, {}, "automated")
        return bool(done.stdout)

    return automate


def names(folder: Path, version: str) -> bool:
    return serving.image(version) in serving.served(folder)


def bump(folder: Path, version: str) -> tuple[str, ...]:
    with gitops.open_repository(str(folder)) as repository:
        return gitops.bump(repository, serving.wanted(version))[0].notes


def settle(folder: Path) -> None:
    with fake_gate() as gate:
        gate.add(image=serving.image("v2"), primary_image=serving.image("v1"))
        assert [each.commit for each in settle_once(gate.url, str(folder), "main", Via(), lambda image: "")] != [""]


def rollback(folder: Path) -> None:
    with gitops.open_repository(str(folder)) as repository:
        gitops.rollback(repository, "mpg")


def reject(folder: Path) -> None:
    with gitops.open_repository(str(folder)) as repository:
        gitops.land(repository, lambda tip: propose_reject(tip, serving.wanted("v2"), "wrong data"))


def test_the_marker_works_as_long_as_nobody_goes_back(folder: Path, automate: Automate) -> None:
    assert automate("v2") and names(folder, "v2")
    assert not automate("v2")
    assert bump(folder, "v3") == () and MARK in serving.served(folder)


@pytest.mark.parametrize("back", [settle, rollback])
def test_what_was_taken_back_is_not_brought_back_and_a_newer_version_is(
    folder: Path, automate: Automate, back: Callable[[Path], None]
) -> None:
    automate("v2")
    back(folder)
    assert names(folder, "v1") and PAUSED in serving.served(folder)
    assert not automate("v2") and not automate("v3") and names(folder, "v1")
    assert bump(folder, "v3") == () and MARK in serving.served(folder)
    assert not automate("v3")
    assert automate("v4") and names(folder, "v4")


def test_a_version_that_was_rejected_before_it_came_does_not_come(folder: Path, automate: Automate) -> None:
    reject(folder)
    assert not automate("v2") and names(folder, "v1")


def test_a_bump_to_an_older_version_leaves_the_marker_paused(folder: Path, automate: Automate) -> None:
    automate("v2")
    settle(folder)
    (note,) = bump(folder, "v1.5")
    assert "stays paused in manifests/mpg/deployment.yaml" in note and "v1.5" in note
    assert not automate("v2") and names(folder, "v1.5")


def test_of_two_targets_neither_resumes_before_the_other(folder: Path, automate: Automate) -> None:
    path, lone = "model-images/mpg/model.yaml", 'tag: v1 # {"$imagepolicy": "flux-system:mpg:tag"}\n'
    model = (folder / path).read_text() + "- {file: values.yaml, values: {tag: tag}}\n"
    serving.commit(folder, {path: model, "values.yaml": lone})
    bump(folder, "v2")
    reject(folder)
    with gitops.open_repository(str(folder)) as repository:
        gitops.land(repository, lambda tip: propose_unreject(tip, "v2", "mpg", ""))
    assert len(bump(folder, "v1")) == 2
    assert not automate("v2") and names(folder, "v1")
    assert (folder / "values.yaml").read_text() == lone.replace("# {", "# paused {")


def test_versions_without_an_order_leave_it_paused(folder: Path, automate: Automate) -> None:
    automate("v2")
    rollback(folder)
    assert len(bump(folder, "summer")) == 1
    assert not automate("v2") and names(folder, "summer")


def test_the_same_version_again_after_its_rejection_was_lifted_resumes_it(folder: Path, automate: Automate) -> None:
    automate("v2")
    settle(folder)
    with gitops.open_repository(str(folder)) as repository:
        gitops.land(repository, lambda tip: propose_unreject(tip, "v2", "mpg", ""))
    assert PAUSED in serving.served(folder)
    assert bump(folder, "v2") == () and MARK in serving.served(folder)
    assert automate("v3")


def test_pausing_and_resuming_change_nothing_else(folder: Path, automate: Automate) -> None:
    before = serving.served(folder)
    reject(folder)
    assert serving.served(folder) == before.replace(MARK, PAUSED)
    bump(folder, "v3")
    assert serving.served(folder) == before.replace(serving.image("v1"), serving.image("v3"))
