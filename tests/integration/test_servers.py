"""The servers that other integration tests rely on do start, answer, and stop."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import boto3
import docker
import pytest
import requests

from tests.integration.conftest import available
from tests.integration.servers import MissingError
from tests.integration.servers.git_http import GitServer, git_http
from tests.integration.servers.process import ServerError, running
from tests.integration.servers.registry import Registry
from tests.integration.servers.s3 import S3


@pytest.mark.parametrize("which", ["registry", "registry_v3"])
def test_registry_answers(which: str, request: pytest.FixtureRequest) -> None:
    server: Registry = request.getfixturevalue(which)
    assert requests.get(f"http://{server.address}/v2/", timeout=10).status_code == 200


def test_registry_asks_for_a_login(registry_login: Registry) -> None:
    url = f"http://{registry_login.address}/v2/"
    assert requests.get(url, timeout=10).status_code == 401
    assert requests.get(url, timeout=10, auth=(registry_login.user, registry_login.password)).status_code == 200


def test_s3_keeps_an_object(s3: S3) -> None:
    client = boto3.client(
        "s3", endpoint_url=s3.endpoint, aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key
    )
    client.create_bucket(Bucket="servers")
    client.put_object(Bucket="servers", Key="a/b", Body=b"hello")
    assert client.get_object(Bucket="servers", Key="a/b")["Body"].read() == b"hello"


def test_docker_daemon_answers(docker_daemon: str) -> None:
    assert docker.DockerClient(base_url=docker_daemon).ping()


@pytest.mark.parametrize(("every", "code"), [(True, 0), (False, 128)])
def test_git_http_has_every_repository_only_if_it_is_told_to(every: bool, code: int, tmp_path: Path) -> None:
    with git_http(tmp_path / "root", every=every) as server:
        done = subprocess.run(["git", "ls-remote", f"{server.url}/unheard-of.git"], capture_output=True)
    assert done.returncode == code


@pytest.mark.parametrize("size", [10, 3_000_000])  # git sends more than 1 MiB in chunks
def test_git_http_takes_a_push(size: int, git_http_login: GitServer, tmp_path: Path) -> None:
    url, work = git_http_login.create("team/serving"), tmp_path / "work"

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(work), *words], check=True, capture_output=True, text=True).stdout

    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "file").write_bytes(bytes(range(256)) * (size // 256 + 1))
    git("add", ".")
    git("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "core.compression=0", "commit", "-qm", "first")
    git("push", "-q", git_http_login.with_login(url), "main")
    assert git("ls-remote", git_http_login.with_login(url)).split()[0] == git("rev-parse", "main").strip()
    refused = subprocess.run(
        ["git", "-c", "credential.helper=", "ls-remote", url], env={"GIT_TERMINAL_PROMPT": "0"}, capture_output=True
    )
    assert refused.returncode != 0


@pytest.mark.parametrize(("which", "outcome"), [("", pytest.skip.Exception), ("all", pytest.fail.Exception)])
def test_a_missing_program_skips_or_fails(
    which: str, outcome: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPACK_TESTS", which)

    def start() -> AbstractContextManager[None]:
        raise MissingError("nosuchd", "apt-get install nosuchd")

    with pytest.raises(outcome, match="nosuchd is not here; install it: apt-get install nosuchd"), available(start):
        pass


def test_a_server_that_ends_shows_its_log(tmp_path: Path) -> None:
    argv = ["sh", "-c", "echo the reason; exit 3"]
    with (
        pytest.raises(ServerError, match=r"(?s)ended with 3.*the reason"),
        running(argv, tmp_path / "log", lambda _: False),
    ):
        pass
