"""What every test starts from: none of the user's own settings, credentials or state."""

from __future__ import annotations

import compileall
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_sessionstart(session: pytest.Session) -> None:
    """Hundreds of tests start `modelpack`; where bytecode may not be kept, each start would compile it again."""
    if not hasattr(session.config, "workerinput"):  # once, not in each of xdist's workers
        compileall.compile_dir(Path(__file__).parents[1] / "modelpack", quiet=2)


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """State, docker's and git's configuration in a folder of this run; no AWS or MODELPACK settings."""
    home = tmp_path_factory.mktemp("environment")
    (home / "docker").mkdir()
    (home / "gitconfig").write_text(
        "[user]\n\tname = Tests\n\temail = tests@example.com\n[init]\n\tdefaultBranch = main\n"
        # every commit, fetch and push would start a program that finds nothing to clear away
        "[maintenance]\n\tauto = false\n[gc]\n\tauto = 0\n[receive]\n\tautogc = false\n"
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
