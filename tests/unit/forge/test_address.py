from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.errors import InputError
from modelpack.forge.address import parse_address

GITHUB = ("github", "https://api.github.com", "github.com", "acme/models")
GITLAB = ("gitlab", "https://gitlab.com/api/v4", "gitlab.com", "acme/serving/models")


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://github.com/acme/models.git", GITHUB),
        ("https://github.com/acme/models", GITHUB),
        ("https://github.com/acme/models/", GITHUB),
        ("https://GitHub.com:443/acme/models.git", GITHUB),
        ("https://robot:secret@github.com/acme/models.git", GITHUB),
        ("git@github.com:acme/models.git", GITHUB),
        ("github.com:acme/models", GITHUB),
        ("git@github.com:/acme/models.git", GITHUB),
        ("ssh://git@github.com/acme/models.git", GITHUB),
        ("ssh://git@ssh.github.com:443/acme/models.git", GITHUB),
        ("git+ssh://git@github.com/acme/models.git", GITHUB),
        ("git://github.com/acme/models.git", GITHUB),
        ("git@gitlab.com:acme/serving/models.git", GITLAB),
        ("https://gitlab.com/acme/serving/models.git", GITLAB),
        ("http://gitlab.com/acme/serving/models.git", GITLAB),
        ("http://github.com/acme/models", GITHUB),
        ("ssh://git@altssh.gitlab.com:443/acme/serving/models.git", GITLAB),
        ("git@acme.ghe.com:acme/models.git", ("github", "https://api.acme.ghe.com", "acme.ghe.com", "acme/models")),
        (
            "https://github.acme.example/ml/models",
            ("github", "https://github.acme.example/api/v3", "github.acme.example", "ml/models"),
        ),
        (
            "ssh://git@gitlab.acme.example:2222/ml/a/b/models.git",
            ("gitlab", "https://gitlab.acme.example/api/v4", "gitlab.acme.example", "ml/a/b/models"),
        ),
        (
            "https://gitlab.acme.example:8443/ml/models.git",
            ("gitlab", "https://gitlab.acme.example:8443/api/v4", "gitlab.acme.example:8443", "ml/models"),
        ),
        ("git@codeberg.org:acme/models.git", ("gitea", "https://codeberg.org/api/v1", "codeberg.org", "acme/models")),
        (
            "http://gitea.acme.example:3000/git/acme/models.git",
            ("gitea", "http://gitea.acme.example:3000/git/api/v1", "gitea.acme.example:3000", "acme/models"),
        ),
        (
            "https://forgejo.acme.example/acme/models.git",
            ("gitea", "https://forgejo.acme.example/api/v1", "forgejo.acme.example", "acme/models"),
        ),
    ],
)
def test_the_remotes_address_tells(remote: str, expected: tuple[str, ...]) -> None:
    found = parse_address(remote)
    assert (found.forge, found.api, found.host, found.project) == expected
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("remote", "forge", "url", "api", "project"),
    [
        ("https://code.acme.example/ml/models", "github", "", "https://code.acme.example/api/v3", "ml/models"),
        ("git@code.acme.example:ml/models", "gitlab", "", "https://code.acme.example/api/v4", "ml/models"),
        (
            "https://acme.example/gitlab/ml/a/models.git",
            "gitlab",
            "https://acme.example/gitlab",
            "https://acme.example/gitlab/api/v4",
            "ml/a/models",
        ),
        (
            "git@acme.example:ml/a/models.git",
            "gitlab",
            "https://acme.example/gitlab/api/v4/",
            "https://acme.example/gitlab/api/v4",
            "ml/a/models",
        ),
        (
            "git@ssh.acme.example:ml/models.git",
            "github",
            "https://acme.example",
            "https://acme.example/api/v3",
            "ml/models",
        ),
        ("git@github.com:ml/models", "", "https://api.github.com", "https://api.github.com", "ml/models"),
        (
            "git@acme.example:ml/models.git",
            "gitea",
            "https://acme.example:3000/git",
            "https://acme.example:3000/git/api/v1",
            "ml/models",
        ),
    ],
)
def test_model_yaml_says_the_rest(remote: str, forge: str, url: str, api: str, project: str) -> None:
    found = parse_address(remote, forge, url)
    assert (found.api, found.project) == (api, project)


@pytest.mark.parametrize(
    ("remote", "forge", "url", "says"),
    [
        ("", "", "", "no remote"),
        ("/srv/git/models.git", "", "", "is a folder"),
        ("../models", "", "", "is a folder"),
        ("C:\\git\\models", "", "", "is a folder"),
        ("file:///srv/git/models.git", "", "", "is a folder"),
        ("ftp://github.com/acme/models", "", "", "begins with ftp"),
        ("https://code.acme.example/ml/models", "", "", r"pullRequest\.forge of model\.yaml: github, gitlab, gitea"),
        ("https://code.acme.example/ml/models", "bitbucket", "", "not a kind of forge"),
        ("https://github.com/models", "", "", "ends with owner/name"),
        ("https://github.com/../models", "", "", "not owner/name"),
        ("https://github.com/acme/mod%2e%2e%2Fels%3f", "", "", "not owner/name"),
        ("https://github.com:port/acme/models", "", "", "cannot be read"),
        ("https://git hub.com/acme/models", "", "", "no host has"),
        ("git@github.com:acme/models", "", "https://evil.example/api/v3", "no token is sent there"),
        ("git@github.com:acme/models", "", "https://github.com.evil.example", "no token is sent there"),
        ("git@github.com:acme/models", "", "https://evilgithub.com", "no token is sent there"),
        ("git@github.com:acme/models", "", "https://com", "no token is sent there"),
        ("git@10.0.0.1:acme/models", "gitea", "https://1.10.0.0.1", "no token is sent there"),
        ("git@github.com:acme/models", "", "http://github.com", "plain http"),
        ("git@github.com:acme/models", "", "https://u:p@github.com", "plain http\\(s\\) URL"),
        ("git@github.com:acme/models", "", "ftp://github.com", "plain http\\(s\\) URL"),
    ],
)
def test_what_is_no_forge_is_refused(remote: str, forge: str, url: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_address(remote, forge, url)


@given(st.text(alphabet="https://git@:.[]%\\ \n\0ü?#a1-", max_size=40), st.sampled_from(["", "gitlab", "gitea"]))
def test_any_text_is_an_address_or_a_sentence(remote: str, forge: str) -> None:
    try:
        found = parse_address(remote, forge)
    except InputError:
        return
    assert all(each not in found.api + found.project for each in "\n\0 @?#%\\")
