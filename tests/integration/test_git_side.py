"""A branch beside the base one: whose it is, and that nobody's is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.errors import InputError, ProtectedError, RefusedError
from modelpack.gitops import Repository, Style, open_repository
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import DEPLOYMENT, git, wanted
from tests.integration.servers.git_http import GitServer

SIDE = "modelpack/mpg"
KINDS = ["bare", "clone", "work", "http", "thin"]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, git_http: GitServer) -> tuple[str, Path]:
    """Where the repository is opened, and the one with its branches."""
    bare = git_http.root / "serving.git"
    url = git_http.create("serving")
    person = serving.worktree(tmp_path / "person")
    serving.commit(person, {"more": "1\n"})
    git(person, "push", "--quiet", url, "main")
    if request.param == "thin":
        git(bare, "config", "uploadpack.allowFilter", "true")
    if request.param == "clone":
        git(tmp_path, "clone", "--quiet", str(bare), "clone")
    return {
        "bare": (str(bare), bare),
        "clone": (str(tmp_path / "clone"), bare),
        "work": (str(person), person),
        "http": (url, bare),
        "thin": (url, bare),
    }[request.param]


def put(repository: Repository, version: str, expected: str = "", onto: str = "") -> str:
    """Put a bump on the side branch; its commit."""
    change = gitops.propose_bump(repository.at(onto) if onto else repository, wanted(version))
    commit = gitops.make(repository, change, Style(signoff=True), onto=onto, side=True)
    assert repository.put_side(SIDE, commit, expected)
    return commit


def amend(holder: Path, content: str, *, keep: bool = True) -> str:
    """What a person does with the side branch: a commit on it (`keep`), or in the place of its last."""
    parent = SIDE if keep else f"{SIDE}^"
    env = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    tree = git(holder, "rev-parse", f"{SIDE}^{{tree}}" if content == "same" else "main~1^{tree}")
    text = git(holder, "log", "-1", "--format=%B", SIDE) if not keep else "a person's"
    commit = git(holder, *env, "commit-tree", "-p", parent, "-m", text, tree)
    git(holder, "update-ref", f"refs/heads/{SIDE}", commit)
    return commit


def test_our_own_branch_is_known_again(place: tuple[str, Path]) -> None:
    location, holder = place
    base = git(holder, "rev-parse", "main")
    with open_repository(location) as repository:
        assert repository.side(SIDE) is None
        first = put(repository, "v2")
    with open_repository(location) as repository:
        side = repository.side(SIDE)
        assert side == gitops.Side(SIDE, first, ours=True)
        assert repository.at(side).read(DEPLOYMENT) == serving.deployment("v2").encode()
        assert repository.read(DEPLOYMENT) == serving.deployment("v1").encode()
        data = serving.deployment("v2").encode()
        assert repository.is_current(side, {DEPLOYMENT: data})
        assert not repository.is_current(side, {DEPLOYMENT: data + b"\n"})
        assert not repository.is_current(side, {DEPLOYMENT: data, "other": b""})
        assert not repository.put_side(SIDE, base, "")  # it is there
        assert not repository.put_side(SIDE, base, base)  # and it is something else
        second = put(repository, "v3", expected=first)
    assert git(holder, "rev-parse", SIDE, "main").split() == [second, base]
    assert git(holder, "rev-parse", f"{SIDE}^") == base
    assert git(holder, "log", "-1", "--format=%(trailers:key=Signed-off-by,valueonly)", SIDE)


@pytest.mark.parametrize("how", ["commit on it", "empty commit on it", "amended"])
def test_a_persons_commit_makes_it_theirs(place: tuple[str, Path], how: str) -> None:
    location, holder = place
    with open_repository(location) as repository:
        put(repository, "v2")
    theirs = amend(holder, "same" if how.startswith("empty") else "other", keep=how != "amended")
    with open_repository(location) as repository:
        side = repository.side(SIDE)
        assert side == gitops.Side(SIDE, theirs, ours=False)
        assert not repository.is_current(side, {DEPLOYMENT: serving.deployment("v2").encode()})
        ours = put(repository, "v3", expected=theirs, onto=theirs)
        side = repository.side(SIDE)
        assert side == gitops.Side(SIDE, ours, ours=False)  # theirs is still below
    assert git(holder, "rev-parse", f"{SIDE}^") == theirs


def test_a_branch_at_an_old_commit_of_the_base_is_nobodys_work(place: tuple[str, Path]) -> None:
    location, holder = place
    git(holder, "branch", SIDE, "main~1")
    with open_repository(location) as repository:
        side = repository.side(SIDE)
        assert side and side.ours
        put(repository, "v2", expected=side.tip)


def test_the_base_may_have_moved_on(place: tuple[str, Path], tmp_path: Path) -> None:
    location, holder = place
    with open_repository(location) as repository:
        put(repository, "v2")
        assert repository.publish(repository.commit({"unrelated": b"1"}, "unrelated\n"))
    with open_repository(location) as repository:
        side = repository.side(SIDE)
        assert side and side.ours
        assert repository.is_current(side, {DEPLOYMENT: serving.deployment("v2").encode()})
    git(holder, "update-ref", "refs/heads/main", SIDE)  # merged
    with open_repository(location) as repository:
        side = repository.side(SIDE)
        assert side and side.ours and side.tip == repository.tip


@pytest.mark.parametrize(
    "name", ["main", "", "-x", "--upload-pack=touch ran", "a..b", "a b", "refs/heads/x:main", "x^"]
)
def test_names_that_are_no_side_branchs(tmp_path: Path, name: str) -> None:
    bare = serving.bare(tmp_path / "bare")
    with open_repository(str(bare)) as repository:
        with pytest.raises(InputError):
            repository.side(name)
        with pytest.raises(InputError):
            repository.put_side(name, repository.tip, "")


def test_a_refused_side_branch_and_one_that_is_checked_out(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    serving.hook(bare, "echo no branches here >&2; exit 1")
    with open_repository(str(bare)) as repository, pytest.raises(ProtectedError, match="no branches here"):
        repository.put_side(SIDE, repository.tip, "")
    folder = serving.worktree(tmp_path / "work")
    git(folder, "switch", "--quiet", "--create", SIDE)
    with open_repository(str(folder)) as repository, pytest.raises(RefusedError, match="is checked out"):
        repository.put_side(SIDE, repository.tip, repository.tip)
