"""What every test starts from: none of the user's own settings, credentials or state."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """State, docker's and git's configuration in a folder of this run; no AWS or MODELPACK settings."""
    home = tmp_path_factory.mktemp("environment")
    (home / "docker").mkdir()
    (home / "gitconfig").write_text(
        "[user]\n\tname = Tests\n\temail = tests@example.com\n[init]\n\tdefaultBranch = main\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("AWS_", "MODELPACK_", "DOCKER_", "GIT_")) and name != "MODELPACK_TESTS":
                patch.delenv(name)
        patch.setenv("MODELPACK_HOME", str(home / "state"))
        patch.setenv("DOCKER_CONFIG", str(home / "docker"))
        patch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("AWS_CONFIG_FILE", str(home / "no-aws-config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "no-aws-credentials"))
        yield
