"""Credentials and challenges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelpack.errors import InputError, RefusedError
from modelpack.reference import Reference
from modelpack.registry.auth import Authorizer, Credentials, TokenRequest, find_credentials, parse_challenge

ALICE = {"auth": "YWxpY2U6b3BlbjpzZXNhbWU="}  # alice:open:sesame


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


@pytest.mark.parametrize(
    ("key", "registry", "found"),
    [
        ("registry.example.com", "registry.example.com", True),
        ("https://registry.example.com/v2/", "registry.example.com", True),
        ("registry.example.com:5000", "registry.example.com", False),
        ("example.com", "registry.example.com", False),
        ("https://index.docker.io/v1/", "docker.io", True),
    ],
)
def test_credentials_by_registry(key: str, registry: str, found: bool, config: Path) -> None:
    config.write_text(json.dumps({"auths": {"other.example.com": {}, key: ALICE}}))
    assert find_credentials(registry) == (Credentials("alice", "open:sesame") if found else None)


@pytest.mark.parametrize(
    ("entry", "credentials"),
    [
        ({}, None),
        ({"username": "bob", "password": "pw"}, Credentials("bob", "pw")),
        ({"auth": "", "identitytoken": "it"}, Credentials("", "", "it")),
    ],
)
def test_forms_of_an_entry(entry: Mapping[str, str], credentials: Credentials | None, config: Path) -> None:
    config.write_text(json.dumps({"auths": {"r.io": entry}}))
    assert find_credentials("r.io") == credentials


def test_no_configuration_is_no_credentials(config: Path) -> None:
    assert find_credentials("r.io") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"r.io": {"auth": "hush!"}}}', '{"auths": {"r.io": 1}}'])
def test_a_broken_configuration(text: str, config: Path) -> None:
    config.write_text(text)
    with pytest.raises(InputError, match="is not a Docker configuration") as caught:
        find_credentials("r.io")
    assert "hush" not in str(caught.value)


def test_secrets_have_no_representation() -> None:
    assert "hush" not in repr(Credentials("alice", "hush", "hush"))


@pytest.mark.parametrize(
    ("challenge", "scheme", "parameters"),
    [
        ('Basic realm="x"', "basic", {"realm": "x"}),
        (
            'Bearer realm="https://a/t?x=1,2",service="s p",scope="repository:m:pull,push"',
            "bearer",
            {"realm": "https://a/t?x=1,2", "service": "s p", "scope": "repository:m:pull,push"},
        ),
        ('Basic realm="x", bearer realm=y', "bearer", {"realm": "y"}),
        ("Negotiate", "", {}),
        ("", "", {}),
    ],
)
def test_challenges(challenge: str, scheme: str, parameters: Mapping[str, str]) -> None:
    assert parse_challenge(challenge) == (scheme, parameters)


def test_an_identity_token_buys_tokens(config: Path) -> None:
    config.write_text(json.dumps({"auths": {"r.io": {"identitytoken": "it"}}}))
    asked: list[TokenRequest] = []

    def fetch(request: TokenRequest) -> bytes:
        asked.append(request)
        return b'{"access_token": "at"}'

    authorizer = Authorizer(Reference("r.io", "m"), fetch)
    authorizer.renew('Bearer realm="https://r.io/t",service="s"', "", write=True)
    form: Any = asked[0].form
    assert authorizer.header(write=True) == "Bearer at"
    assert (form["grant_type"], form["refresh_token"], form["scope"]) == (
        "refresh_token",
        "it",
        "repository:m:pull,push",
    )


def test_no_token_server_gets_a_login_in_the_clear(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(json.dumps({"auths": {"r.io": ALICE}}))
    monkeypatch.setenv("MODELPACK_INSECURE_REGISTRIES", "tokens.internal:5001")
    asked: list[TokenRequest] = []

    def fetch(request: TokenRequest) -> bytes:
        asked.append(request)
        return b'{"token": "t"}'

    with pytest.raises(RefusedError, match=r"tokens\.internal:5001 wants a login, which plain HTTP would show"):
        Authorizer(Reference("r.io", "m"), fetch).renew('Bearer realm="http://tokens.internal:5001/t"', "", write=True)
    assert asked == []
    Authorizer(Reference("r.io", "m"), fetch).renew('Bearer realm="http://localhost:5001/t"', "", write=True)
    Authorizer(Reference("r.io", "m"), fetch).renew('Bearer realm="https://tokens.internal:5001/t"', "", write=True)
    assert [bool(each.headers) for each in asked] == [True, True]
