"""What a forge's bad days do to us: a proxy with faults before a real Gitea."""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from modelpack.definition import PullRequestStyle
from modelpack.errors import ModelpackError, RefusedError, RemoteError
from modelpack.forge import Forge, open_forge
from tests.fakes.faults import Fault, Faults, faults
from tests.integration.servers.gitea import ROBOT, Gitea, Project

BRANCH = "modelpack/mpg"
MARK = "<!-- modelpack report -->"


@dataclass(frozen=True)
class Scene:
    """A project, and its forge behind the proxy."""

    project: Project
    forge: Forge
    laid: Faults


@pytest.fixture
def scene(gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.delenv("GITEA_SERVER_URL", raising=False)
    monkeypatch.setenv("GITEA_TOKEN", gitea.tokens[ROBOT])
    project = gitea.create(f"models-{uuid.uuid4().hex[:8]}", {"serving.yaml": "image: mpg:v1\n"})
    project.put("new.yaml", "image: mpg:v2\n", branch=BRANCH, start="main")
    with faults(gitea.url) as laid:
        yield Scene(project, _open(f"{laid.url}/{project.path}"), laid)


def _open(url: str) -> Forge:
    return open_forge(url, PullRequestStyle(forge="gitea"), lambda _: "")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("POST", "/pulls", 504, after=True), id="done, but a gateway timed out"),
        pytest.param(Fault("POST", "/pulls", 0, after=True), id="done, but the connection was cut"),
        pytest.param(Fault("POST", "/pulls", 502), id="not done"),
        pytest.param(Fault("POST", "/pulls", 0), id="not done, connection cut"),
        pytest.param(Fault("POST", "/pulls", 500, after=True, times=2), id="twice"),
        pytest.param(Fault("POST", "/pulls", 429, {"Retry-After": "1"}), id="rate limit"),
        pytest.param(Fault("GET", "/pulls", 503), id="a search fails"),
    ],
)
def test_a_create_whose_answer_is_lost_makes_one_pull_request(scene: Scene, fault: Fault) -> None:
    scene.laid.add(fault)
    pull = scene.forge.create(BRANCH, "main", "one", "body")
    assert [each["number"] for each in scene.project.pulls()] == [pull.number] == [1]
    assert scene.forge.find(BRANCH) == (pull,)


def test_a_comment_whose_answer_is_lost_is_there_once(scene: Scene) -> None:
    scene.forge.create(BRANCH, "main", "one", "")
    scene.laid.add(Fault("POST", "/comments", 0, after=True))
    scene.forge.comment(1, "hello", MARK)
    assert len(scene.project.api("GET", "/issues/1/comments")) == 1


def test_several_that_rewrite_it_in_the_same_moment_all_do(scene: Scene) -> None:
    """Gitea refuses all but one of them with 400."""
    scene.forge.create(BRANCH, "main", "one", "")
    bodies = [f"body {number} " * 200 for number in range(4)]
    with ThreadPoolExecutor() as pool:
        for attempt in range(6):
            told = list(pool.map(lambda body, title=f"{attempt}": scene.forge.update(1, title, body).number, bodies))
            assert told == [1] * len(bodies)
    assert scene.project.pull(1)["body"] in {body.strip() for body in bodies} | set(bodies)


@pytest.mark.parametrize("fault", [Fault("POST", "/merge", 504, after=True), Fault("POST", "/merge", 500)])
def test_a_merge_whose_answer_is_lost_is_a_merge(scene: Scene, fault: Fault) -> None:
    scene.forge.create(BRANCH, "main", "one", "")
    scene.laid.add(fault)
    scene.forge.merge_when_green(1)
    end = time.monotonic() + 20
    while not scene.project.pull(1)["merged"]:
        assert time.monotonic() < end
        time.sleep(0.2)


def test_reads_and_rewrites_are_repeated(scene: Scene) -> None:
    scene.forge.create(BRANCH, "main", "one", "")
    scene.laid.add(Fault("PATCH", "/pulls/1", 503), Fault("POST", "/labels", 0, after=True), Fault("GET", "/pulls", 0))
    assert scene.forge.update(1, "two", "").title == "two"
    scene.forge.label(1, ["model"])
    assert [each["name"] for each in scene.project.pull(1)["labels"]] == ["model"]
    assert len(scene.project.api("GET", "/labels")) == 1
    assert len(scene.forge.find(BRANCH)) == 1


def test_a_rate_limit_is_waited_for(scene: Scene) -> None:
    scene.laid.add(Fault("GET", "/pulls", 429, {"Retry-After": "1"}))
    started = time.monotonic()
    scene.forge.find(BRANCH)
    assert 1 <= time.monotonic() - started < 10


def test_a_long_rate_limit_names_when_to_come_back(scene: Scene) -> None:
    scene.laid.add(Fault("GET", "/pulls", 429, {"X-RateLimit-Reset": str(int(time.time()) + 900)}))
    started = time.monotonic()
    with pytest.raises(RemoteError, match=r"come back at 20\d\d-\d\d-\d\d .* UTC, in (899|900) s"):
        scene.forge.find(BRANCH)
    assert time.monotonic() - started < 5
    assert len([each for each in scene.laid.seen if each.endswith("/pulls")]) == 1


def test_a_forge_that_stays_down_is_a_sentence(scene: Scene) -> None:
    scene.laid.add(Fault("GET", "/pulls", 503, times=9))
    with pytest.raises(RemoteError, match="answers 503"):
        scene.forge.find(BRANCH)


def test_a_page_instead_of_an_answer_is_a_sentence(scene: Scene) -> None:
    scene.laid.add(Fault("GET", "/pulls", 200, {"Content-Type": "text/html"}, "<html>log in</html>"))
    with pytest.raises(RemoteError, match=r"something else than a list.*pullRequest\.forge"):
        scene.forge.find(BRANCH)


@pytest.mark.parametrize("to", ["http://127.0.0.2:9/elsewhere", "//evil.example/x", "https://127.0.0.1/"])
def test_a_redirect_to_another_place_is_not_followed(scene: Scene, to: str) -> None:
    scene.laid.add(Fault("GET", "/pulls", 302, {"Location": to}))
    with pytest.raises(RemoteError, match="another place"):
        scene.forge.find(BRANCH)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 422, 500])
def test_a_token_that_is_echoed_stays_hidden(
    scene: Scene, status: int, caplog: pytest.LogCaptureFixture, gitea: Gitea
) -> None:
    caplog.set_level(logging.DEBUG)
    token = gitea.tokens[ROBOT]
    echo = f'{{"message": "bad header: token {token}", "errors": [{{"message": "{token}"}}]}}'
    scene.laid.add(Fault("GET", "/pulls", status, {"X-Echo": token}, echo, times=9))
    with pytest.raises(ModelpackError) as caught:
        scene.forge.find(BRANCH)
    whole = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(scene.forge))
    assert "***" in str(caught.value)
    assert token not in whole + caplog.text


def test_a_token_in_a_field_stays_hidden(gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITEA_TOKEN", gitea.tokens[ROBOT])
    project = gitea.create(f"models-{uuid.uuid4().hex[:8]}", {"a": "b\n"})
    project.put("new.yaml", "x\n", branch=BRANCH, start="main")
    token = gitea.tokens[ROBOT]

    def echo(text: str, authorization: str) -> str:
        return text.replace("/pulls/1", f"/pulls/1?{authorization.split()[-1]}")

    with faults(gitea.url, echo) as laid:
        pull = _open(f"{laid.url}/{project.path}").create(BRANCH, "main", "one", "")
    assert token not in repr(pull)
    assert "***" in pull.url


def test_a_login_in_the_address_stays_hidden(gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITEA_TOKEN", raising=False)
    forge = _open(f"{gitea.url.replace('http://', 'http://robot:hunter22@')}/alice/none")
    with pytest.raises(RefusedError) as caught:
        forge.find(BRANCH)
    assert "hunter22" not in "".join(traceback.format_exception(caught.value))
