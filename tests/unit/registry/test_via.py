"""Which layout stands for a reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.errors import InputError
from modelpack.reference import Reference
from modelpack.registry import LayoutRepository, Via, open_repository
from modelpack.registry.remote import RemoteRepository
from modelpack.registry.trust import in_the_clear, speaks_plain

RULES = (
    "registry.local/=oci:./var/registry",
    "registry.local/special=oci:/s",
    "whole.local:5000=oci:w",
    "docker.io/=oci:d",
)


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("registry.local/models/mpg:v2", "var/registry/models/mpg"),
        ("registry.local/special:v2", "/s"),
        ("registry.local/special/x", "/s/x"),
        ("registry.local/specials", "var/registry/specials"),
        ("whole.local:5000/a", "w/a"),
        ("whole.local/a", None),
        ("busybox", "d/library/busybox"),
        ("notregistry.local/models/mpg", None),
    ],
)
def test_the_longest_prefix_wins(reference: str, path: str | None) -> None:
    assert Via.parse(*RULES).path_of(Reference.parse(reference)) == (Path(path) if path else None)


@pytest.mark.parametrize(
    "rule", ["", "registry.local", "registry.local/=", "=oci:x", "r/=oci:", "r/=docker:x", "r/=./x"]
)
def test_bad_rules(rule: str) -> None:
    with pytest.raises(InputError, match="is not a via rule"):
        Via.parse(rule)


def test_the_command_line_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_VIA", " a.local/=oci:env, b.local/=oci:env\n")
    via = Via.from_environ(["a.local=oci:with space,comma"])
    paths = [via.path_of(Reference.parse(f"{host}.local/m")) for host in "abc"]
    assert paths == [Path("with space,comma/m"), Path("env/m"), None]


def test_a_folder_of_the_environment_may_have_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_VIA", "a.local/=oci:/my models b.local/=oci:~nobody-here/x")
    assert [str(folder) for _, folder in Via.from_environ().rules] == ["/my models", "~nobody-here/x"]


def test_open_repository(tmp_path: Path) -> None:
    reference = Reference.parse("a.local/m:v1")
    layout = open_repository(reference, Via((("a.local", tmp_path),)))
    assert isinstance(layout, LayoutRepository)
    assert (layout.path, layout.reference) == (tmp_path / "m", reference.at())
    assert isinstance(open_repository(reference, Via()), RemoteRepository)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("localhost:5000", True),
        ("127.8.0.1", True),
        ("[::1]:5000", True),
        ("listed.example.com:5000", True),
        ("named.example.com:9", True),
        ("listed.example.com", False),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_where_plain_http_is_spoken(host: str, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_INSECURE_REGISTRIES", "listed.example.com:5000, named.example.com")
    assert speaks_plain(host) == plain


def test_loopback_is_not_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPACK_INSECURE_REGISTRIES", "10.0.0.1:5000,localhost:5000")
    hosts = ("10.0.0.1:5000", "10.0.0.1", "localhost:5000", "127.0.0.1", "r.example.com")
    assert [each for each in hosts if in_the_clear(each)] == ["10.0.0.1:5000"]
