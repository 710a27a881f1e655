from __future__ import annotations

import pytest

from modelpack.gate.rollouts import Rollout

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.mark.parametrize(
    ("canary", "primary", "roles"),
    [
        (
            f"r:5000/m/mpg:v2@{TWO}",
            f"r:5000/m/mpg:v1@{ONE}",
            {"v2": "canary", TWO: "canary", "v1": "primary", ONE: "primary"},
        ),
        (f"r:5000/m/mpg@{TWO}", "mpg:v1", {TWO: "canary", "v1": "primary"}),
        (f"r/mpg:main@{TWO}", f"r/mpg:main@{ONE}", {TWO: "canary", ONE: "primary"}),
    ],
)
def test_servers_name_a_version_by_tag_or_digest(canary: str, primary: str, roles: dict[str, str]) -> None:
    known = Rollout("r", "n", "mpg", "mpg", "c", "d", canary, primary, "Progressing", 0, 0, 0, 60, 0.05)
    assert known.roles == roles
