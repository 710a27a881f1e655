"""Where a real Gitea may be: below a folder of its host, with an address that only the project knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelpack.definition import PullRequestStyle
from modelpack.forge import State, open_forge
from tests.integration.conftest import available
from tests.integration.servers.gitea import ROBOT, Project, gitea


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with available(lambda: gitea(tmp_path_factory.mktemp("gitea-below"), below="/code/git")) as server:
        made = server.create("models", {"a": "b\n"})
        made.put("new", "x\n", branch="modelpack/mpg", start="main")
        yield made


@pytest.mark.parametrize(
    ("remote", "given"),
    [
        pytest.param("{url}/alice/models.git", "", id="the remote's address tells"),
        pytest.param("{url}/alice/models", "{url}", id="its front page"),
        pytest.param("{url}/alice/models.git", "{url}/api/v1", id="its API"),
        pytest.param("git@127.0.0.1:alice/models.git", "{url}/", id="SSH, whose address lacks the folder"),
    ],
)
def test_in_a_subfolder(project: Project, monkeypatch: pytest.MonkeyPatch, remote: str, given: str) -> None:
    url = project.server.url
    monkeypatch.setenv("GITEA_TOKEN", project.server.tokens[ROBOT])
    style = PullRequestStyle(forge="gitea", url=given.format(url=url))
    pull = open_forge(remote.format(url=url), style, lambda _: "").create("modelpack/mpg", "main", "one", "")
    assert (pull.number, pull.state) == (1, State.OPEN)
