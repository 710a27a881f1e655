"""What the project's own programs are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.training import child

SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "GITEA_TOKEN",
    "GITHUB_TOKEN",
    "MODELPACK_REPOSITORY",
    "NVIDIA_API_KEY",
    "KUBECONFIG",
)


def test_no_login_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in SECRETS:
        monkeypatch.setenv(each, "secret")
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = child.environment(tmp_path / "home", {"MODELPACK_DATA": "d"})
    assert "secret" not in found.values()
    assert found["NVIDIA_VISIBLE_DEVICES"] == "0" and found["CUDA_VISIBLE_DEVICES"] == "1"
    assert found["HOME"] == str(tmp_path / "home") and found["MODELPACK_DATA"] == "d"
