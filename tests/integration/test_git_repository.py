"""A branch of a repository, wherever it lives: read at its tip, moved forward, nobody's work lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelpack import gitops
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


# --- what a person has is left as it is


def test_notes_say_why_a_checkout_does_not_follow(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    for name in ("ahead", "dirty", "behind", "merging"):
        git(tmp_path, "clone", "--quiet", "bare", name)
    serving.commit(tmp_path / "ahead", {"mine": "1\n"})
    serving.commit(tmp_path / "ahead", {"mine": "2\n"})
    (tmp_path / "dirty" / DEPLOYMENT).write_text("mine, not committed\n")
    git(tmp_path / "dirty", "add", "--all")
    (tmp_path / "merging/.git/MERGE_HEAD").write_text(git(bare, "rev-parse", "main") + "\n")
    notes = {}
    for name, version in (("ahead", "v2"), ("dirty", "v3"), ("merging", "v4"), ("behind", "v5")):
        status = git(tmp_path / name, "status", "--porcelain")
        with open_repository(str(tmp_path / name)) as repository:
            change, _ = gitops.bump(repository, serving.wanted(version))
        notes[name] = " ".join(change.notes)
        assert git(tmp_path / name, "status", "--porcelain") == status
    assert notes["ahead"] == "your checkout has 2 commits that are not pushed: it stays as it is"
    assert notes["dirty"].startswith("your checkout stays as it is: ") and DEPLOYMENT in notes["dirty"]
    assert notes["merging"].startswith("your checkout stays as it is: ")
    assert notes["behind"] == ""
    assert git(tmp_path / "behind", "rev-parse", "main") == git(bare, "rev-parse", "main")
    assert serving.served(bare) == serving.deployment("v5")


@pytest.mark.parametrize(
    "options",
    [
        ["--depth=1"],
        ["--filter=blob:none"],
        ["--filter=tree:0"],
        ["--sparse"],
        ["--filter=blob:none", "--sparse", "--depth=1"],
        ["--no-checkout"],
        ["--bare", "--depth=1"],
        ["--bare", "--shared"],
    ],
    ids=" ".join,
)
def test_a_clone_that_has_not_everything(tmp_path: Path, options: list[str]) -> None:
    bare = serving.bare(tmp_path / "bare")
    git(bare, "config", "uploadpack.allowFilter", "true")
    serving.commit(tmp_path / "bare-origin", {DEPLOYMENT: serving.deployment("v1.5"), "big/file": "x" * 9999})
    git(tmp_path / "bare-origin", "push", "--quiet", str(bare), "main")
    git(tmp_path, "clone", "--quiet", *options, f"file://{bare}", "clone")
    folder = tmp_path / "clone"
    clean = "--bare" in options or git(folder, "status", "--porcelain")
    with open_repository(str(folder)) as repository:
        gitops.bump(repository, serving.wanted("v2"))
    ends = folder if "--bare" in options else bare
    assert serving.served(ends) == serving.deployment("v2")
    assert git(ends, "diff", "--numstat", "main^", "main") == f"1\t1\t{DEPLOYMENT}"
    if "--bare" in options:
        return
    if "--no-checkout" not in options:
        assert git(folder, "status", "--porcelain") == clean
    if "--depth=1" in options:
        git(folder, "fetch", "--quiet", "--unshallow")  # a past that is cut off is not gone back over
    with open_repository(str(folder)) as repository:
        assert gitops.rollback(repository, "mpg")[0].new == serving.image("v1.5")


def test_a_submodule_is_left_alone_and_its_address_never_asked(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    person = tmp_path / "bare-origin"
    content = f'[submodule "s"]\n\tpath = s\n\turl = ext::touch {tmp_path}/ran\n\tupdate = !touch {tmp_path}/ran\n'
    (person / ".gitmodules").write_text(content)
    git(person, "update-index", "--add", "--cacheinfo", f"160000,{git(person, 'rev-parse', 'HEAD')},s")
    git(person, "add", ".gitmodules")
    git(person, "commit", "--quiet", "--message", "a submodule")
    git(person, "push", "--quiet", str(bare), "main")
    git(tmp_path, "clone", "--quiet", "bare", "clone")
    for location, version in ((bare, "v2"), (tmp_path / "clone", "v3"), (f"file://{bare}", "v4")):
        with open_repository(str(location)) as repository:
            gitops.bump(repository, serving.wanted(version))
            assert repository.read("s") is None
            repository.export(tmp_path / f"out-{version}")
    assert git(bare, "ls-tree", "main", "s").startswith("160000 commit ")
    assert not (tmp_path / "ran").exists()


def test_a_bare_clone_that_lacks_files_is_refused(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    git(bare, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--bare", "--filter=blob:none", f"file://{bare}", "clone")
    with pytest.raises(RefusedError, match="partial clone; name the one"), open_repository(str(tmp_path / "clone")):
        pass
