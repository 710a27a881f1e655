"""A run at a service over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack.errors import InputError, RefusedError, RemoteError
from modelpack.runs.remote import HOST, TOKEN, Remote, token_for
from modelpack.training.folder import seen_to_json
from modelpack.training.run import Result, Seen, State, from_json
from tests.fakes.http import Request, Server, serve
from tests.fakes.training import run, training

TRAINING = training("remote", url="https://runs.example.com")
DONE = Seen(State.SUCCEEDED, "fine", 1.0, 2.0, Result(True, "fine", "r/line:v2@sha256:ab"))


class Service:
    """What such a service does, in its shortest form."""

    def __init__(self) -> None:
        self.runs: dict[str, Seen] = {}

    def answer(self, request: Request) -> tuple[int, bytes]:
        if request.method == "POST":
            key = request.headers["Idempotency-Key"]
            assert from_json(json.loads(request.body)["run"]).id == key
            self.runs.setdefault(key, Seen(State.RUNNING, "", 1.0))
            return 202, b""
        parts = request.path.strip("/").split("/")
        if parts[1] not in self.runs:
            return 404, b"{}"
        if parts[2:] == ["log"]:
            return 200, b"learning\n"
        if request.method == "DELETE":
            over = self.runs[parts[1]].state.over
            self.runs[parts[1]] = Seen(State.CANCELLED)
            if over:
                del self.runs[parts[1]]
            return 204, b""
        return 200, json.dumps(seen_to_json(self.runs[parts[1]])).encode()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def server(service: Service) -> Iterator[Server]:
    with serve(service.answer) as found:
        yield found


def test_started_twice_it_is_one_run_that_ends_and_is_forgotten(service: Service, server: Server) -> None:
    remote = Remote(f"{server.url}/runs")
    assert remote.look(run()).state is State.LOST
    remote.start(run(), TRAINING)
    remote.start(run(), TRAINING)
    assert list(service.runs) == [run().id]
    assert remote.look(run()).state is State.RUNNING and remote.log(run()) == "learning\n"
    remote.remove(run())  # what goes on is not forgotten
    assert remote.look(run()).state is State.RUNNING
    service.runs[run().id] = DONE
    assert remote.look(run()) == DONE
    remote.cancel(run())  # what is over is not cancelled
    assert remote.look(run()) == DONE
    remote.remove(run())
    assert remote.look(run()).state is State.LOST and remote.runs("line") == ()


def test_cancelled(server: Server) -> None:
    remote = Remote(f"{server.url}/runs")
    remote.start(run(), TRAINING)
    remote.cancel(run())
    assert remote.look(run()).state is State.CANCELLED


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((500, b"oops"), RemoteError),
        ((429, b"slow down"), RemoteError),
        ((302, b""), RemoteError),
        ((401, b"who?"), RefusedError),
        ((400, b"what?"), InputError),
        ((200, b"no json"), RemoteError),
        ((200, b'{"state": "dancing"}'), RemoteError),
        ((200, b"[]"), RemoteError),
        ((200, b"[" * 100_000), RemoteError),
    ],
)
def test_answers_that_say_nothing_are_errors(server: Server, answer: tuple[int, bytes], error: type[Exception]) -> None:
    server.answer = lambda request: answer
    with pytest.raises(error):
        Remote(server.url).look(run())


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", f"http://{'a' * 300}", "http://[::1", "ftp://x", "//"])
def test_nobody_there(url: str) -> None:
    with pytest.raises(RemoteError, match="cannot be reached"):
        Remote(url).start(run(), TRAINING)


def test_the_token_goes_to_its_host_alone_and_never_in_the_clear(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    Remote(f"{server.url}/runs").start(run(), TRAINING)
    assert "Authorization" not in server.seen[-1].headers  # a login for others is not this service's
    monkeypatch.setenv(TOKEN, "hush")
    with pytest.raises(RefusedError, match=f"does not say for which host it is; set .{HOST} to that host"):
        Remote(f"{server.url}/runs").start(run(), TRAINING)
    monkeypatch.setenv(HOST, server.url.removeprefix("http://"))
    Remote(f"{server.url}/runs").start(run(), TRAINING)
    assert server.seen[-1].headers["Authorization"] == "Bearer hush"
    monkeypatch.setenv(HOST, "runs.example.com")
    Remote(f"{server.url}/runs").start(run(), TRAINING)
    assert "Authorization" not in server.seen[-1].headers


def test_a_redirect_takes_the_token_nowhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "hush")
    monkeypatch.setenv(HOST, server.url.removeprefix("http://"))
    with serve(lambda request: (200, b"{}")) as other:
        server.answer = lambda request: (307, b"")
        server.headers["Location"] = f"{other.url}/runs"
        with pytest.raises(RemoteError, match="answered 307"):
            Remote(f"{server.url}/runs").start(run(), TRAINING)
        assert other.seen == [] and len(server.seen) == 1


@pytest.mark.parametrize(
    ("host", "url", "sent"),
    [
        ("runs.example.com", "https://runs.example.com/api", True),
        ("Runs.Example.com", "https://RUNS.example.com:443/api", True),
        ("runs.example.com:8443", "https://runs.example.com:8443", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("runs.example.com", "https://runs.example.com:8443", False),
        ("runs.example.com:8443", "https://runs.example.com", False),
        ("runs.example.com", "https://runs.example.com.evil.example", False),
        ("runs.example.com", "https://evil.example/?runs.example.com", False),
        ("runs.example.com", "https://runs.example.com@evil.example", False),
        ("runs.example.com", "https://evil.example\\@runs.example.com", False),  # where parsers disagree
        ("runs.example.com", "https://evil.example#@runs.example.com", False),
        ("runs.example.com", "https://runs.example\t.com", False),
        ("runs.example.com", "https://me:mine@runs.example.com", False),
        ("[::1]:80", "http://[::1]/", True),
    ],
)
def test_whom_the_token_is_for(monkeypatch: pytest.MonkeyPatch, host: str, url: str, sent: bool) -> None:
    monkeypatch.setenv(TOKEN, "hush")
    monkeypatch.setenv(HOST, host)
    assert token_for(url) == ("hush" if sent else "")


@pytest.mark.parametrize(
    ("host", "url", "error", "words"),
    [
        ("runs.example.com", "http://runs.example.com", RefusedError, "in the clear"),
        ("runs.example.com", "https://[::1/runs", InputError, "is no address"),
        ("runs.example.com", "https://runs.example.com:999999", InputError, "is no address"),
        ("https://runs.example.com/", "https://runs.example.com", InputError, "is not a host"),
    ],
)
def test_what_no_token_is_sent_to(
    monkeypatch: pytest.MonkeyPatch, host: str, url: str, error: type[Exception], words: str
) -> None:
    monkeypatch.setenv(TOKEN, "hush")
    monkeypatch.setenv(HOST, host)
    with pytest.raises(error, match=words) as caught:
        Remote(url).start(run(), TRAINING)
    assert "hush" not in str(caught.value)
