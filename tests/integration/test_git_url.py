"""A repository by its address: what it costs, what cannot come through it, and whose login is used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.errors import ModelpackError
from modelpack.gitops import open_repository
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import DEPLOYMENT, git
from tests.integration.servers.git_http import GitServer


@pytest.mark.parametrize("thin", [True, False], ids=["filters", "no filters"])
def test_of_a_url_only_what_is_needed_is_fetched(tmp_path: Path, git_http: GitServer, thin: bool) -> None:
    url = git_http.create("serving")
    git(git_http.root / "serving.git", "config", "uploadpack.allowFilter", str(thin).lower())
    person = serving.worktree(tmp_path / "work")
    serving.commit(person, {f"dir{number % 10}/file{number}": f"{number}\n" * 100 for number in range(200)})
    git(person, "push", "--quiet", url, "main")
    with open_repository(url) as repository:
        gitops.bump(repository, serving.wanted("v2"))
        there = git(clone_of(tmp_path), "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").split()
        assert repository.read("dir1/file1") == b"1\n" * 100
    assert (there.count("blob") < 10) is thin
    assert there.count("commit") == 2
    assert serving.served(git_http.root / "serving.git") == serving.deployment("v2")


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def clone_of(folder: Path) -> Path:
    return next(folder.glob("modelpack-git-*/clone.git"))


def test_a_server_that_cannot_be_shallow(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    git(bare, "update-server-info")
    with serve_files(tmp_path) as address, open_repository(f"{address}/bare") as repository:
        assert repository.read(DEPLOYMENT) == serving.deployment("v1").encode()


@contextmanager
def serve_files(folder: Path) -> Iterator[str]:
    """A web server that knows nothing of Git."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    "location", ["ext::touch ran", "-oProxyCommand=x", "ssh://-oProxyCommand=touch ran/x", "fd::3"]
)
def test_an_address_that_would_run_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelpackError), open_repository(location):
        pass
    assert not (tmp_path / "ran").exists()


def test_refs_and_paths_that_look_like_options(tmp_path: Path, git_http: GitServer) -> None:
    url = git_http.create("serving")
    person = serving.worktree(tmp_path / "work")
    serving.commit(person, {"--help": "1\n", "-C": "2\n", ":(glob)**": "3\n", 'quo"te\n': "4\n"})
    git(person, "push", "--quiet", url, "main", "main:refs/heads/-x", "main:refs/tags/main", "main:refs/heads/HEAD")
    with open_repository(url) as repository:
        gitops.bump(repository, serving.wanted("v2"))
        assert repository.read("--help") == b"1\n"
        assert [each.data for each in repository.history(":(glob)**")] == [b"3\n"]
        assert 'quo"te\n' in repository.paths()


def test_a_repository_of_the_other_hash(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main", "--object-format=sha256")
    serving.commit(folder, serving.files())
    git(tmp_path, "clone", "--quiet", "--bare", "work", "bare")
    for location in (folder, tmp_path / "bare"):
        with open_repository(str(location)) as repository:
            gitops.bump(repository, serving.wanted("v2"))
        assert serving.served(location) == serving.deployment("v2")


# --- logins


def test_credentials_come_from_the_address_or_gits_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = serving.bare(tmp_path / "bare")
    config = tmp_path / "gitconfig"
    config.write_text(
        "[user]\n\tname = Tests\n\temail = tests@example.com\n"
        '[credential "https://git.example.com"]\n\thelper = "!echo password=s3cret;:"\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    git(tmp_path, "clone", "--quiet", "bare", "clone")
    with open_repository(str(tmp_path / "clone")) as repository:
        assert repository.remote_url == str(bare)
        assert repository.credentials("https://ada@git.example.com/team/serving.git") == "s3cret"
        assert repository.credentials("https://elsewhere.example.com/x") == ""
        assert repository.credentials("git@git.example.com:team/serving.git") == ""
    git(tmp_path / "clone", "remote", "set-url", "--push", "origin", "https://ada:p%40ss@other.example.com/x.git")
    with open_repository(str(tmp_path / "clone")) as repository:
        assert repository.credentials("https://other.example.com/api/v1") == "p@ss"
    with open_repository(str(serving.worktree(tmp_path / "alone"))) as repository:
        assert repository.remote_url == ""
