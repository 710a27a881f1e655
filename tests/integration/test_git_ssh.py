"""A repository over SSH, as a real server and git's own ssh have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.errors import ModelpackError, NotFoundError, ProtectedError, RemoteError
from modelpack.gitops import open_repository
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import git
from tests.integration.conftest import available
from tests.integration.servers import ssh


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssh.SshServer]:
    with available(lambda: ssh.ssh(tmp_path_factory.mktemp("ssh") / "sshd")) as server:
        yield server


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return serving.bare(tmp_path / "bare")


def bump(location: str | Path) -> None:
    with open_repository(str(location)) as repository:
        gitops.bump(repository, serving.wanted("v2"))


@pytest.mark.parametrize("form", ["{url}{path}", f"{ssh.HOST}:{{path}}", f"ssh://{ssh.HOST}{{path}}"])
def test_a_bump_by_address(server: ssh.SshServer, bare: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
    address = form.format(url=server.url, path=bare)
    with open_repository(address) as repository:
        gitops.bump(repository, serving.wanted("v2"))
        assert repository.remote_url == address
        assert repository.credentials(address) == ""
    assert serving.served(bare) == serving.deployment("v2")
    assert serving.count(bare) == 2


def test_a_bump_of_a_checkout_whose_own_configuration_has_the_key(
    server: ssh.SshServer, bare: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "--quiet", "bare", "work")
    git(tmp_path / "work", "remote", "set-url", "origin", f"{ssh.HOST}:{bare}")
    git(tmp_path / "work", "config", "core.sshCommand", server.command)
    bump(tmp_path / "work")
    assert serving.served(bare) == serving.served(tmp_path / "work") == serving.deployment("v2")


def test_a_refusal_of_the_servers_hook_is_its_words(
    server: ssh.SshServer, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
    serving.hook(bare, "echo main is frozen >&2; exit 1")
    with pytest.raises(ProtectedError, match="main is frozen"):
        bump(f"{ssh.HOST}:{bare}")
    assert serving.count(bare) == 1


@pytest.mark.parametrize(
    ("client", "below", "error", "words"),
    [
        ("stranger", "", RemoteError, "Permission denied (publickey)"),
        ("wary", "", RemoteError, "Host key verification failed"),
        ("command", "-nothing", NotFoundError, "is not a Git repository"),
    ],
)
def test_a_server_that_does_not_let_us_in(
    server: ssh.SshServer,
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    below: str,
    error: type[ModelpackError],
    words: str,
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", getattr(server, client))
    with pytest.raises(error) as caught:
        bump(f"{ssh.HOST}:{bare}{below}")
    assert words in str(caught.value)
    assert ("give git a login" in str(caught.value)) == (error is RemoteError)
    assert "\n" not in str(caught.value)
