"""A person's checkout: nothing of theirs is overwritten, and no past is told that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.errors import InputError, RefusedError, RemoteError
from modelpack.gitops import open_repository
from modelpack.gitops.history import history
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import git, wanted


def test_an_ignored_file_is_not_overwritten_by_what_others_pushed(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    for name in ("person", "other"):
        git(tmp_path, "clone", "--quiet", str(bare), name)
    person = tmp_path / "person"
    (person / ".git/info/exclude").write_text("notes.txt\n")
    (person / "notes.txt").write_text("mine\n")
    serving.commit(tmp_path / "other", {"notes.txt": "theirs\n"})
    git(tmp_path / "other", "push", "--quiet")
    with open_repository(str(person)) as repository:
        change, commit = gitops.bump(repository, wanted("v2"))
    assert (git(bare, "rev-parse", "main"), (person / "notes.txt").read_text()) == (commit, "mine\n")
    assert "your checkout stays as it is" in change.notes[0] and "notes.txt" in change.notes[0]


def test_a_shallow_checkout_bumps_and_does_not_go_back_over_the_cut(tmp_path: Path) -> None:
    """v3 was taken back to v2: where only that commit is known, v3 looks like the version before."""
    bare = serving.bare(tmp_path / "bare")
    for version in ("v2", "v3", ""):
        with open_repository(str(bare)) as repository:
            gitops.bump(repository, wanted(version)) if version else gitops.rollback(repository, "mpg")
    git(tmp_path, "clone", "--quiet", "--depth=2", bare.as_uri(), "shallow")
    with open_repository(str(tmp_path / "shallow")) as repository:
        for look in (lambda: gitops.rollback(repository, "mpg"), lambda: history(repository, "mpg")):
            with pytest.raises(RefusedError, match="it lacks the history of main; run git fetch --unshallow"):
                look()
        assert gitops.bump(repository, wanted("v4"))[1] == git(bare, "rev-parse", "main")
    git(tmp_path / "shallow", "fetch", "--quiet", "--unshallow")
    with open_repository(str(tmp_path / "shallow")) as repository:
        assert gitops.rollback(repository, "mpg", dry_run=True)[0].new == serving.image("v2")


def test_a_past_with_holes_is_not_told(tmp_path: Path) -> None:
    """Without the file as it was with v2, v1 would look like the version before v3."""
    folder = serving.worktree(tmp_path / "work")
    for version in ("v2", "v3"):
        with open_repository(str(folder)) as repository:
            gitops.bump(repository, wanted(version))
    lost = git(folder, "rev-parse", f"HEAD^:{serving.DEPLOYMENT}")
    (folder / ".git/objects" / lost[:2] / lost[2:]).unlink()
    with open_repository(str(folder)) as repository:
        for look in (lambda: gitops.rollback(repository, "mpg"), lambda: history(repository, "mpg")):
            with pytest.raises(RemoteError, match="objects of its history are missing"):
                look()


@pytest.mark.parametrize("branch", ["-x", "", "..", "main@{0}", "main:x", "*", "HEAD", "a\nb"])
def test_what_is_no_branchs_name(tmp_path: Path, branch: str) -> None:
    folder = serving.worktree(tmp_path / "work")
    with pytest.raises(InputError, match="is not a branch's name"), open_repository(str(folder), branch):
        pass
