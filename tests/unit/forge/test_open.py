"""Which forge, and whose token goes where."""

from __future__ import annotations

import pytest

from modelpack.definition import PullRequestStyle
from modelpack.errors import RefusedError
from modelpack.forge import open_forge
from modelpack.forge.gitea import Gitea
from modelpack.forge.github import GitHub
from modelpack.forge.gitlab import GitLab

VARIABLES = (
    *("GITHUB_TOKEN", "GH_TOKEN", "GH_HOST", "GITHUB_SERVER_URL", "GITLAB_TOKEN", "GITLAB_HOST", "CI_SERVER_URL"),
    *("GITEA_TOKEN", "FORGEJO_TOKEN", "GITEA_SERVER_URL", "FORGEJO_SERVER_URL"),
)


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("remote", "kind"),
    [
        ("git@github.com:acme/models.git", GitHub),
        ("git@gitlab.com:acme/models.git", GitLab),
        ("git@codeberg.org:acme/models.git", Gitea),
    ],
)
def test_the_host_tells_which(remote: str, kind: type) -> None:
    assert isinstance(open_forge(remote, PullRequestStyle(), lambda _: "token"), kind)


@pytest.mark.parametrize(
    ("remote", "environment", "used"),
    [
        ("https://github.com/acme/models", {"GITHUB_TOKEN": "t"}, True),
        ("git@github.com:acme/models", {"GH_TOKEN": "t"}, True),
        ("https://acme.ghe.com/acme/models", {"GH_TOKEN": "t"}, True),
        ("https://github.evil.example/acme/models", {"GITHUB_TOKEN": "t"}, False),
        ("https://github.com.evil.example/acme/models", {"GITHUB_TOKEN": "t"}, False),
        ("https://github.acme.example/m/m", {"GITHUB_TOKEN": "t", "GH_HOST": "github.acme.example"}, True),
        (
            "https://github.acme.example/m/m",
            {"GH_TOKEN": "t", "GITHUB_SERVER_URL": "https://github.acme.example"},
            True,
        ),
        ("https://github.com/m/m", {"GITHUB_TOKEN": "t", "GITHUB_SERVER_URL": "https://github.acme.example"}, False),
        ("https://gitlab.com/acme/models", {"GITLAB_TOKEN": "t"}, True),
        ("https://gitlab.evil.example/acme/models", {"GITLAB_TOKEN": "t"}, False),
        (
            "https://gitlab.acme.example/m/m",
            {"GITLAB_TOKEN": "t", "CI_SERVER_URL": "https://gitlab.acme.example"},
            True,
        ),
        ("https://gitlab.com/acme/models", {"GITHUB_TOKEN": "t"}, False),
        ("https://gitea.acme.example/m/m", {"GITEA_TOKEN": "t"}, True),
        ("https://codeberg.org/m/m", {"FORGEJO_TOKEN": "t"}, True),
        (
            "https://gitea.evil.example/m/m",
            {"GITEA_TOKEN": "t", "GITEA_SERVER_URL": "https://gitea.acme.example"},
            False,
        ),
    ],
)
def test_a_token_goes_to_its_own_server_alone(
    monkeypatch: pytest.MonkeyPatch, remote: str, environment: dict[str, str], used: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked: list[str] = []
    open_forge(remote, PullRequestStyle(), lambda url: asked.append(url) or "from-git")
    assert bool(asked) is not used


def test_a_login_in_the_remote_comes_before_gits_own() -> None:
    open_forge("https://x:password@github.com/acme/models", PullRequestStyle(), lambda _: pytest.fail("asked"))


@pytest.mark.parametrize(
    ("remote", "url", "asked"),
    [
        ("git@github.com:acme/models.git", "", "https://github.com/acme/models.git"),
        ("https://code.example:8443/git/acme/models", "", "https://code.example:8443/git/acme/models.git"),
        ("git@ssh.code.example:acme/models", "https://code.example", "https://code.example/acme/models.git"),
    ],
)
def test_git_is_asked_for_the_password_of_the_page(remote: str, url: str, asked: str) -> None:
    seen: list[str] = []
    style = PullRequestStyle(forge="" if "github" in remote else "gitea", url=url)
    open_forge(remote, style, lambda each: seen.append(each) or "password")
    assert seen == [asked]


@pytest.mark.parametrize(
    ("remote", "token", "says"),
    [
        ("https://github.com/acme/models", "", r"no token for it; set \$GITHUB_TOKEN or \$GH_TOKEN, or give Git"),
        ("https://github.acme.example/m/m", "", r"\$GH_TOKEN \(and \$GH_HOST to github\.acme\.example\)"),
        ("https://github.com/acme/models", "line\nbreak", "characters that no token has"),
        ("https://github.com/acme/models", "tökén", "characters that no token has"),
    ],
)
def test_without_a_good_token_the_way_to_one_is_told(remote: str, token: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says) as caught:
        open_forge(remote, PullRequestStyle(), lambda _: token)
    assert not token or token not in str(caught.value)
