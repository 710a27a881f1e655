import pytest

from modelpack.errors import InputError
from modelpack.reference import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("busybox", "docker.io", "library/busybox", "", ""),
        ("team/mpg:v1", "docker.io", "team/mpg", "v1", ""),
        ("localhost/mpg", "localhost", "mpg", "", ""),
        ("localhost:5000/a/b:v1", "localhost:5000", "a/b", "v1", ""),
        ("[::1]:5000/a:v1", "[::1]:5000", "a", "v1", ""),
        (f"reg.example.com/models/mpg:v2@{DIGEST}", "reg.example.com", "models/mpg", "v2", DIGEST),
        (f"reg.example.com/models/mpg@{DIGEST}", "reg.example.com", "models/mpg", "", DIGEST),
    ],
)
def test_reads_what_people_write(text: str, registry: str, repository: str, tag: str, digest: str) -> None:
    assert Reference.parse(text) == Reference(registry, repository, tag, digest)


@pytest.mark.parametrize(
    "text",
    ["", "Upper/case", "reg.example.com/", "reg.example.com/a:", "reg.example.com/a:b:c", "a@sha256:12", "a b", "../a",
     "reg.example.com/a//b", "reg.example.com/a:" + "x" * 129, "bad_host.example/../a", "reg.example.com:port/a",
     "reg.example.com:65536/a"],
)  # fmt: skip
def test_refuses_what_is_none(text: str) -> None:
    with pytest.raises(InputError):
        Reference.parse(text)


def test_text_survives_a_round_trip() -> None:
    text = f"reg.example.com/models/mpg:v2@{DIGEST}"
    assert str(Reference.parse(text)) == text
    assert Reference.parse(text).locator == DIGEST
    assert Reference.parse(text).at(tag="v3").locator == "v3"
