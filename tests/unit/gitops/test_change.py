"""What a commit says and shows."""

from __future__ import annotations

import pytest

from modelpack.definition import order
from modelpack.gitops import Change, Rejected, message, version_of, with_rejected
from modelpack.gitops.program import without_login

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("version", "expected"),
    [("v1", (1,)), ("1.10.0", (1, 10, 0)), ("v2.", None), ("v1-rc1", None), ("main", None), ("", None)],
)
def test_only_dotted_numbers_are_ordered(version: str, expected: tuple[int, ...] | None) -> None:
    assert order(version) == expected


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (f"reg.local/x:v1@{DIGEST}", "v1"),
        ("reg.local:5000/x", "reg.local:5000/x"),
        (f"reg.local/x@{DIGEST}", "sha256:aaaaaaaaaaaa"),
        ("${IMAGE}", "${IMAGE}"),
    ],
)
def test_version_of_an_image(image: str, version: str) -> None:
    assert version_of(image) == version


def test_message_leaves_out_trailers_without_a_value() -> None:
    assert message("s", "b", {"A": "1", "B": ""}) == "s\n\nb\n\nA: 1\n"


def test_diff_shows_each_changed_line_as_it_is() -> None:
    change = Change("mpg", "", "", "", {"a": (b"x\r\ny \xc2\x85z", b"x\r\nz"), "new": (None, b"1\n")})
    assert change.diff == (
        "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n"
        " x\r\n-y \x85z\n\\ No newline at end of file\n+z\n\\ No newline at end of file\n"
        "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+1\n"
    )


def test_rejected_names_its_image_and_its_model() -> None:
    entry = Rejected(model="sha256:m", image=f"reg.local/x:v1@{DIGEST}", version="", rollout="", reason="", at="")
    assert entry.names(DIGEST)
    assert entry.names("sha256:other", "sha256:m")
    assert not entry.names("", "")
    assert not entry.names("sha256:other", "sha256:n")


def test_with_rejected_starts_a_file_and_keeps_a_reason_on_one_line() -> None:
    entry = Rejected("sha256:m", "x", "v1", "r1", 'it said:\n "no"\x00 é', "2026-01-01T00:00:00Z")
    assert with_rejected(None, "rejected.yaml", entry).decode() == (
        "# Versions that are not proposed again. Remove an entry to lift it.\n"
        '- model: "sha256:m"\n  image: "x"\n  version: "v1"\n  rollout: "r1"\n  reason: "it said: \\"no\\" é"\n'
        '  at: "2026-01-01T00:00:00Z"\n'
    )


def test_logins_are_not_shown() -> None:
    assert without_login("cannot reach https://me:secret@host/x.git: no") == "cannot reach https://host/x.git: no"
