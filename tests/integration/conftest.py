"""Fixtures for real servers. One that cannot find its server skips, and fails where MODELPACK_TESTS=all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from tests.integration import ci_job
from tests.integration import dvc_place as places
from tests.integration.servers import MissingError, docker, dvc, git_http, gitea, postgres, registry, s3
from tests.integration.servers.process import program

T = TypeVar("T")
Folder = pytest.TempPathFactory
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 375, "height": 740}}


def everything_must_run() -> bool:
    return os.environ.get("MODELPACK_TESTS") == "all"


@contextmanager
def available(start: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    """Enter what `start` gives; what is missing skips the test, or fails it where everything must run."""
    with ExitStack() as stack:
        with _skipping():
            value = stack.enter_context(start())
        yield value


@contextmanager
def _skipping() -> Iterator[None]:
    try:
        yield
    except MissingError as missing:
        if everything_must_run():
            pytest.fail(f"MODELPACK_TESTS=all, but {missing}")
        pytest.skip(str(missing))


@pytest.fixture(name="registry", scope="session")
def _registry(tmp_path_factory: Folder) -> Iterator[registry.Registry]:
    """Debian's docker-registry, distribution 2.8. `.address` is host:port; use a repository of your own."""
    with available(lambda: registry.registry(tmp_path_factory.mktemp("registry"))) as server:
        yield server


@pytest.fixture(scope="session")
def registry_v3(tmp_path_factory: Folder) -> Iterator[registry.Registry]:
    """Distribution v3."""
    with available(lambda: registry.registry(tmp_path_factory.mktemp("registry-v3"), v3=True)) as server:
        yield server


@pytest.fixture(scope="session")
def registry_referrers(tmp_path_factory: Folder) -> Iterator[registry.Registry]:
    """olareg, which has the referrers API."""
    with available(lambda: registry.olareg(tmp_path_factory.mktemp("olareg"))) as server:
        yield server


@pytest.fixture(scope="session")
def registry_login(tmp_path_factory: Folder) -> Iterator[registry.Registry]:
    """Distribution v3 that asks for `.user` and `.password` (HTTP basic)."""
    with available(lambda: registry.registry(tmp_path_factory.mktemp("registry-login"), v3=True, login=True)) as server:
        yield server


@pytest.fixture(name="s3", scope="session")
def _s3(tmp_path_factory: Folder) -> Iterator[s3.S3]:
    """versitygw without buckets: make one of your own. Sets no variables; `.environ` has them."""
    with available(lambda: s3.s3(tmp_path_factory.mktemp("s3"))) as server:
        yield server


@pytest.fixture(scope="session")
def dvc_program() -> Iterator[Path]:
    """The dvc program, in an environment of its own."""
    with available(lambda: nullcontext(dvc.program())) as found:
        yield found


@pytest.fixture
def dvc_bucket(dvc_program: Path, s3: s3.S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> places.Place:
    """A repository with a DVC remote on the S3 server; its login is set in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.setenv(name, s3.environ[name])
    return places.in_bucket(tmp_path, s3)


@pytest.fixture(params=["folder", "bucket"])
def dvc_place(request: pytest.FixtureRequest, dvc_program: Path, tmp_path: Path) -> places.Place:
    """A repository with a DVC remote, once in a folder and once on the S3 server."""
    found = places.in_folder(tmp_path) if request.param == "folder" else request.getfixturevalue("dvc_bucket")
    assert isinstance(found, places.Place)
    return found


@pytest.fixture(scope="session")
def docker_daemon() -> Iterator[str]:
    """An empty Docker daemon; the value is for DOCKER_HOST."""
    with available(docker.docker_daemon) as daemon:
        yield daemon.host


@pytest.fixture(name="git_http")
def _git_http(tmp_path: Path) -> Iterator[git_http.GitServer]:
    """Git over HTTP without repositories: `.create(name)` makes one and gives its URL."""
    with available(lambda: git_http.git_http(tmp_path / "git-http")) as server:
        yield server


@pytest.fixture
def git_http_login(tmp_path: Path) -> Iterator[git_http.GitServer]:
    """Git over HTTP that asks for `.user` and `.password`; `.with_login(url)` puts them into a URL."""
    with available(lambda: git_http.git_http(tmp_path / "git-http-login", login=True)) as server:
        yield server


@pytest.fixture(name="gitea", scope="session")
def _gitea(tmp_path_factory: Folder) -> Iterator[gitea.Gitea]:
    """A real Gitea with the users alice, robot and bob: `.create(name, files)` makes a project, use one of your own."""
    with available(lambda: gitea.gitea(tmp_path_factory.mktemp("gitea"))) as server:
        yield server


@pytest.fixture(name="postgres")
def _postgres() -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with available(postgres.postgres) as url:
        yield url


@pytest.fixture(scope="session")
def new_job(tmp_path_factory: Folder) -> Callable[..., ci_job.Job]:
    """Makes a runner's checkout in a folder, for a shell: copies of one that is made once."""
    return partial(ci_job.copied, ci_job.new_job(tmp_path_factory.mktemp("job")))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome."""
    with _skipping():
        return program("chromium", "apt-get install chromium")


@pytest.fixture(scope="module")  # not longer: while it is open an event loop runs in this thread, and no other may
def browser(chromium: str) -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address; afterwards no page may have had an error or asked another host."""
    contexts, problems = [], []

    def open_(address: str, width: str = "desktop", complain: bool = True, **options: Any) -> Any:
        context = browser.new_context(viewport=WIDTHS[width], **options)
        contexts.append(context)
        page = context.new_page()
        if complain:
            page.on(
                "console",
                lambda message: problems.append(message.text) if message.type in ("error", "warning") else None,
            )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if foreign(request.url) else None)
        page.goto(address)
        page.wait_for_selector("h1:visible, .empty:visible, [data-kind=down]")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


def foreign(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme not in ("file", "data") and parts.hostname != "127.0.0.1"
