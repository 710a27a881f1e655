"""A branch of a repository, wherever it lives: read at its tip, moved forward, nobody's work lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError, RemoteError
from modelpack.gitops import Repository, open_repository
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import DEPLOYMENT, git
from tests.integration.servers.git_http import GitServer

CHANGE = {DEPLOYMENT: b"new\n", "added/file": b"\x00\r\n"}


def publish(repository: Repository) -> bool:
    return repository.publish(repository.commit(CHANGE, "subject\n\nbody\n"))


def test_read_paths_export_history(tmp_path: Path) -> None:
    origin = serving.worktree(tmp_path / "origin")
    (origin / "link").symlink_to("README.md")
    (origin / "start.sh").chmod(0o755)
    serving.commit(origin, {DEPLOYMENT: serving.deployment("v2"), "é n.txt": "x\r\n"})
    bare = tmp_path / "bare"
    git(tmp_path, "clone", "--quiet", "--bare", "origin", "bare")
    for location in (origin, origin / "manifests", bare):
        with open_repository(str(location), "main") as repository:
            assert repository.tip == git(origin, "rev-parse", "main")
            assert repository.read(DEPLOYMENT) == serving.deployment("v2").encode()
            assert repository.read("manifests") is None
            assert repository.paths("manifests/") == (DEPLOYMENT,)
            assert "é n.txt" in repository.paths()
            with pytest.raises(RefusedError, match="symbolic link"):
                repository.read("link")
            out = tmp_path / f"out-{location.name}"
            repository.export(out)
            assert os.access(out / "start.sh", os.X_OK)
            assert not os.access(out / "README.md", os.X_OK)
            assert (out / "link").readlink() == Path("README.md")
            assert (out / "é n.txt").read_bytes() == b"x\r\n"
            assert [each.data for each in repository.history(DEPLOYMENT)] == [
                serving.deployment(version).encode() for version in ("v2", "v1")
            ]
    assert git(origin, "status", "--porcelain") == ""


def test_publish_to_a_bare_repository_keeps_modes_and_parents(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    before = git(bare, "rev-parse", "main")
    with open_repository(str(bare)) as repository:
        assert publish(repository)
        assert repository.read("added/file") == CHANGE["added/file"]
        assert repository.tip == git(bare, "rev-parse", "main")
    assert git(bare, "rev-parse", "main^") == before
    assert git(bare, "diff", "--name-only", "main^", "main").split() == ["added/file", DEPLOYMENT]
    assert (
        git(bare, "log", "-1", "--format=%an <%ae>|%cn|%B", "main") == "Tests <tests@example.com>|Tests|subject\n\nbody"
    )
    git(bare, "fsck", "--strict")


def test_identity_is_made_up_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = serving.bare(tmp_path / "bare")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    with open_repository(str(bare)) as repository:
        assert publish(repository)
    assert git(bare, "log", "-1", "--format=%an <%ae>", "main") == "modelpack <modelpack@localhost>"


def test_a_worktree_with_a_remote_follows_only_where_nothing_is_lost(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    git(tmp_path, "clone", "--quiet", "bare", "behind")
    git(tmp_path, "clone", "--quiet", "bare", "ahead")
    git(tmp_path, "clone", "--quiet", "bare", "dirty")
    serving.commit(tmp_path / "ahead", {"mine": "unpushed\n"})
    (tmp_path / "dirty" / DEPLOYMENT).write_text("mine, not committed\n")
    for name in ("behind", "ahead", "dirty"):
        folder = tmp_path / name
        was = git(folder, "rev-parse", "main")
        with open_repository(str(folder)) as repository:
            assert repository.publish(repository.commit({name: b"", DEPLOYMENT: name.encode()}, name))
        assert git(bare, "log", "-1", "--format=%s", "main") == name
        follows = name == "behind"
        assert (git(folder, "rev-parse", "main") == git(bare, "rev-parse", "main")) is follows
        assert git(folder, "rev-parse", "main") == (git(bare, "rev-parse", "main") if follows else was)
        assert git(folder, "diff", "--cached", "--name-only") == ""
    assert (tmp_path / "behind" / DEPLOYMENT).read_text() == "behind"
    assert (tmp_path / "dirty" / DEPLOYMENT).read_text() == "mine, not committed\n"


def test_a_worktree_without_a_remote_takes_its_files_along(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    (folder / "README.md").write_text("mine, not committed\n")
    (folder / "staged").write_text("mine, staged\n")
    git(folder, "add", "staged")
    with open_repository(str(folder)) as repository:
        assert publish(repository)
    assert (folder / DEPLOYMENT).read_text() == "new\n"
    assert git(folder, "status", "--porcelain").splitlines() == ["M README.md", "A  staged"]
    assert (folder / "README.md").read_text() == "mine, not committed\n"


@pytest.mark.parametrize("stage", [False, True], ids=["edited", "staged"])
def test_a_worktree_without_a_remote_is_refused_where_a_person_changed_the_file(tmp_path: Path, stage: bool) -> None:
    folder = serving.worktree(tmp_path / "work")
    (folder / DEPLOYMENT).write_text("mine, not committed\n")
    if stage:
        git(folder, "add", "--all")
    before = git(folder, "status", "--porcelain"), git(folder, "rev-parse", "main")
    with open_repository(str(folder)) as repository, pytest.raises(RefusedError, match="would be overwritten"):
        publish(repository)
    assert (git(folder, "status", "--porcelain"), git(folder, "rev-parse", "main")) == before
    assert (folder / DEPLOYMENT).read_text() == "mine, not committed\n"


def test_a_branch_that_is_not_checked_out_moves_alone(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    git(folder, "switch", "--quiet", "--create", "other")
    (folder / DEPLOYMENT).write_text("mine, not committed\n")
    with open_repository(str(folder)) as repository:
        assert publish(repository)
    assert git(folder, "show", f"main:{DEPLOYMENT}") == "new"
    assert git(folder, "rev-parse", "other") == git(folder, "rev-parse", "main^")
    assert (folder / DEPLOYMENT).read_text() == "mine, not committed\n"


def test_a_branch_checked_out_in_another_worktree_takes_that_one_along(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    git(folder, "switch", "--quiet", "--create", "other")
    git(folder, "worktree", "add", "--quiet", str(tmp_path / "linked"), "main")
    with open_repository(str(folder)) as repository:
        assert publish(repository)
    assert (tmp_path / "linked" / DEPLOYMENT).read_text() == "new\n"
    for each in (folder, tmp_path / "linked"):
        assert git(each, "status", "--porcelain") == ""


@pytest.mark.parametrize("kind", ["bare", "worktree", "http"])
def test_publish_says_when_somebody_was_faster(tmp_path: Path, kind: str, git_http: GitServer) -> None:
    folder = serving.worktree(tmp_path / "work")
    location = str(folder)
    if kind != "worktree":
        location = git_http.create("serving")
        git(folder, "remote", "add", "origin", location)
        git(folder, "push", "--quiet", "origin", "main")
        location = location if kind == "http" else str(git_http.root / "serving.git")
    with open_repository(location) as repository:
        late = repository.commit(CHANGE, "late\n")
        theirs = serving.commit(folder, {"theirs": "1\n"})
        if kind != "worktree":
            git(folder, "push", "--quiet", "origin", "main")
        assert not repository.publish(late)
        repository.refresh()
        assert repository.tip == theirs
        assert publish(repository)
        assert repository.read("theirs") == b"1\n"


def test_a_refusing_hook_is_reported_at_once_with_its_words(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    serving.hook(bare, "echo run >> runs; echo 'main is protected: open a pull request' >&2; exit 1")
    with open_repository(str(bare)) as repository, pytest.raises(RefusedError) as caught:
        publish(repository)
    assert "main is protected: open a pull request" in str(caught.value)
    assert "failed to push" not in str(caught.value)
    assert (bare / "runs").read_text() == "run\n"
    assert serving.count(bare) == 1


def test_a_persons_own_hook_refuses_too(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    git(tmp_path, "clone", "--quiet", "bare", "work")
    serving.hook(tmp_path / "work/.git", "echo not on a Friday >&2; exit 1", "pre-push")
    with open_repository(str(tmp_path / "work")) as repository, pytest.raises(RefusedError, match="not on a Friday"):
        publish(repository)
    assert serving.count(bare) == 1


def test_a_login_is_needed_and_never_shown(git_http_login: GitServer, tmp_path: Path) -> None:
    url = git_http_login.create("serving")
    folder = serving.worktree(tmp_path / "work")
    git(folder, "push", "--quiet", git_http_login.with_login(url), "main")
    with open_repository(git_http_login.with_login(url)) as repository:
        assert publish(repository)
        assert git_http_login.password not in repository.place
    for location in (url, git_http_login.with_login(url).replace(git_http_login.password, "wrong-secret")):
        with pytest.raises(RemoteError) as caught, open_repository(location):
            pass
        assert "wrong-secret" not in str(caught.value)


def test_a_repository_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = serving.bare(tmp_path / "bare")
    ssh = tmp_path / "ssh"  # stands for ssh: git calls it with options, the host, and the command to run there
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    with open_repository(f"git@example.com:{bare}") as repository:
        assert publish(repository)
    assert serving.count(bare) == 2


def test_a_branch_that_may_belong_to_two_remotes_is_not_guessed(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    for name in ("one", "two"):
        git(folder, "remote", "add", name, str(tmp_path))
    with pytest.raises(InputError, match="main may belong to any of one, two"), open_repository(str(folder)):
        pass


@pytest.mark.parametrize(
    ("location", "branch", "error"),
    [
        ("{tmp}/nothing", "main", NotFoundError),
        ("{tmp}", "main", NotFoundError),
        ("{bare}", "nothing", NotFoundError),
        ("{bare}-origin", "nothing", NotFoundError),
        ("file://{tmp}/nothing", "main", NotFoundError),
        ("http://127.0.0.1:9/serving.git", "main", RemoteError),
    ],
)
def test_what_is_not_there(tmp_path: Path, location: str, branch: str, error: type[ModelpackError]) -> None:
    bare = serving.bare(tmp_path / "bare")
    with pytest.raises(error), open_repository(location.format(tmp=tmp_path, bare=bare), branch):
        pass


def test_a_repository_that_git_calls_us_from_does_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = serving.bare(tmp_path / "bare")
    monkeypatch.setenv("GIT_DIR", str(serving.worktree(tmp_path / "other", "v9") / ".git"))
    with open_repository(str(bare)) as repository:
        assert repository.read(DEPLOYMENT) == serving.deployment("v1").encode()
