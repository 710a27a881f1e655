"""Bad days, on GitHub and GitLab as well: a proxy with faults before servers held to their documented APIs."""

from __future__ import annotations

import base64
import itertools
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from modelpack.errors import ModelpackError, RefusedError, RemoteError
from modelpack.forge import http
from modelpack.forge.github import GitHub
from modelpack.forge.gitlab import GitLab
from modelpack.forge.http import Access, Api, Patience, UnsureError
from modelpack.forge.pull import Forge
from tests.fakes import github, gitlab
from tests.fakes.described import serve
from tests.fakes.faults import Fault, Faults, faults

BRANCH = "modelpack/mpg"
MARK = "<!-- mark -->"
TOKEN = "good-token"


class Clock:
    """Notes how long was slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def patience(self) -> Patience:
        return Patience(answer=2, sleep=self.slept.append)


@contextmanager
def on_github(clock: Clock) -> Iterator[tuple[Forge, Faults, Any]]:
    there = github.GitHub()
    with serve(there) as origin, faults(origin) as laid:
        api = Api(Access(f"{laid.url}/api/v3", "acme/models", TOKEN), clock.patience())
        yield (
            GitHub(api, "acme/models", f"{laid.url}/api/graphql"),
            laid,
            there,
        )


@contextmanager
def on_gitlab(clock: Clock) -> Iterator[tuple[Forge, Faults, Any]]:
    there = gitlab.GitLab()
    with serve(there) as origin, faults(origin) as laid:
        api = Api(Access(f"{laid.url}/api/v4", "acme/models", TOKEN), clock.patience())
        yield GitLab(api, "acme/serving/models"), laid, there


BOTH = pytest.mark.parametrize(
    ("on", "pulls", "comments"), [(on_github, "/pulls", "/comments"), (on_gitlab, "/merge_requests", "/notes")]
)


@BOTH
@pytest.mark.parametrize(("status", "after"), [(0, True), (504, True), (502, False), (0, False), (500, True)])
def test_nothing_is_made_twice(on: Callable[..., object], pulls: str, comments: str, status: int, after: bool) -> None:
    with on(Clock()) as (forge, laid, there):  # type: ignore[attr-defined]
        laid.add(Fault("POST", pulls, status, after=after))
        there.add(BRANCH, state="closed")
        assert forge.create(BRANCH, "main", "one", "").number == 2
        laid.add(Fault("POST", comments, status, after=after))
        forge.comment(2, "hello", MARK)
        made = (there.pulls, there.comments) if isinstance(there, github.GitHub) else (there.merges, there.notes)
        assert [len(each) for each in made] == [2, 1]


@BOTH
def test_a_rate_limit_is_waited_for_up_to_a_minute(on: Callable[..., object], pulls: str, comments: str) -> None:
    clock = Clock()
    with on(clock) as (forge, laid, _):  # type: ignore[attr-defined]
        laid.add(Fault("GET", pulls, 429, {"Retry-After": "50"}))
        forge.find(BRANCH)
        assert clock.slept == [50]
        laid.add(Fault("POST", pulls, 429, {"Retry-After": "30"}))
        forge.create(BRANCH, "main", "one", "")
        laid.add(Fault("GET", pulls, 429, {"Retry-After": "40"}, times=2))
        with pytest.raises(RemoteError, match=r"come back at .* UTC, in 40 s"):
            forge.find(BRANCH)
        assert clock.slept == [50, 30, 40]


def test_githubs_two_kinds_of_limits() -> None:
    clock, hour = Clock(), str(int(time.time()) + 3600)
    with on_github(clock) as (forge, laid, _):
        laid.add(Fault("GET", "/pulls", 403, body='{"message": "You have exceeded a secondary rate limit"}'))
        forge.find(BRANCH)
        assert clock.slept == [60]
        laid.add(Fault("GET", "/pulls", 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": hour}))
        with pytest.raises(RemoteError, match="rate limit is used up"):
            forge.find(BRANCH)
        laid.add(Fault("GET", "/pulls", 403, body='{"message": "Must have admin rights"}'))
        with pytest.raises(RefusedError, match="Must have admin rights"):
            forge.find(BRANCH)
    assert clock.slept == [60]


def test_a_create_that_takes_too_long_is_looked_up() -> None:
    """The server does it, but we have hung up before."""
    slow = threading.Event()
    calls = itertools.count()

    def late(text: str, _: str) -> str:
        if '"node_id": "PR_1"' in text and next(calls) == 0:
            slow.wait(5)
        return text

    there = github.GitHub()
    with serve(there) as origin, faults(origin, late) as laid:
        patience = Patience(answer=0.5, sleep=lambda _: None)
        forge = GitHub(Api(Access(f"{laid.url}/api/v3", "acme/models", TOKEN), patience), "acme/models", "")
        assert forge.create(BRANCH, "main", "one", "").number == 1
        slow.set()
    assert len(there.pulls) == 1
    assert [each for each in laid.seen if each.startswith("POST")] == ["POST /api/v3/repos/acme/models/pulls"]


def test_what_never_left_is_sent_again_even_if_it_is_not_repeatable() -> None:
    clock = Clock()
    with faults("http://127.0.0.1:9") as laid:
        gone = laid.url
    with pytest.raises(RemoteError, match="cannot be reached") as caught:
        Api(Access(gone, "acme/models", TOKEN), clock.patience()).ask("POST", "/x", {})
    assert not isinstance(caught.value, UnsureError)
    assert len(clock.slept) == 3


def test_a_lost_answer_to_what_is_not_repeatable_is_told_apart() -> None:
    with on_github(Clock()) as (_, laid, _made):
        api = Api(Access(laid.url, "acme/models", TOKEN), Patience(sleep=lambda _: None))
        laid.add(Fault("POST", "/x", 0))
        with pytest.raises(UnsureError):
            api.ask("POST", "/x", {})
        assert laid.seen == ["POST /x"]


def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 1000)
    with on_github(Clock()) as (forge, laid, _):
        laid.add(Fault("GET", "/models", 200, body="[" * 100_000))
        with pytest.raises(RemoteError, match="larger or slower"):
            forge.find(BRANCH)


def test_an_answer_that_comes_by_drops_is_cut() -> None:
    """Each drop is in time for the socket: only the whole can be too late."""
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
            for _ in range(50):
                connection.sendall(b" ")
                time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    began = time.monotonic()
    access = Access(f"http://127.0.0.1:{listening.getsockname()[1]}", "acme/models", TOKEN)
    with listening, pytest.raises(RemoteError, match="larger or slower"):
        Api(access, Patience(answer=0.5)).ask("GET", "/list")
    assert time.monotonic() - began < 3


def test_a_list_without_an_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with faults("http://127.0.0.1:9") as laid:
        laid.add(Fault("GET", "/list", 200, {"Link": '</list?page=1>; rel="next"'}, "[1]", times=999))
        api = Api(Access(laid.url, "acme/models", TOKEN))
        assert len(list(api.pages("/list", {}))) == http.MOST_PAGES


@pytest.mark.parametrize(
    ("method", "status", "says"),
    [("GET", 302, "circle"), ("POST", 308, "circle"), ("POST", 302, "has moved"), ("PATCH", 301, "has moved")],
)
def test_redirects_end(method: str, status: int, says: str) -> None:
    with faults("http://127.0.0.1:9") as laid:
        laid.add(Fault(method, "/x", status, {"Location": "/x"}, times=20))
        with pytest.raises(RemoteError, match=says):
            Api(Access(laid.url, "acme/models", TOKEN)).ask(method, "/x", {})


def test_a_redirect_within_the_forge_keeps_method_and_body() -> None:
    with on_github(Clock()) as (forge, laid, _):
        there = f"{laid.url}/api/v3/repos/acme/models/pulls"
        laid.add(Fault("POST", "/pulls", 307, {"Location": there}))
        assert forge.create(BRANCH, "main", "one", "").title == "one"


@pytest.mark.parametrize(
    "body",
    [
        "[3]",
        '[{"number": "1"}]',
        '[{"head": {"repo": {"id": 1}}, "base": {"repo": {"id": 1}}, "number": true}]',
        '[{"head": [], "base": 3, "number": 1, "html_url": {}}]',
        '{"message": "fine"}',
        "null",
        '"text"',
    ],
)
def test_answers_of_another_shape_are_sentences(body: str) -> None:
    with on_github(Clock()) as (forge, laid, _):
        laid.add(Fault("GET", "/pulls", 200, body=body))
        with pytest.raises(RemoteError, match="something else than"):
            forge.find(BRANCH)


def test_words_that_move_the_cursor_are_not_passed_on() -> None:
    with on_github(Clock()) as (forge, laid, _):
        laid.add(Fault("GET", "/pulls", 422, body='{"message": "\\u001b[2J\\nowned\\r \\u202e"}'))
        with pytest.raises(RefusedError) as caught:
            forge.find(BRANCH)
    assert caught.value.problem == "the forge refuses it with 422 ([2J owned )"


@pytest.mark.parametrize("guise", ["{token}", "Bearer {token}", "dG9rZW46", "{base64}", "x{base64}x"])
def test_a_token_in_any_guise_stays_hidden(guise: str, caplog: pytest.LogCaptureFixture) -> None:
    secret = "S3cr3t-token-of-the-robot"
    encoded = base64.b64encode(f"token:{secret}".encode()).decode()
    said = guise.format(token=secret, base64=encoded)
    access = Access("", "acme/models", secret)
    assert secret not in repr(access)
    caplog.set_level("DEBUG")
    with faults("http://127.0.0.1:9") as laid:
        api = Api(replace(access, base=laid.url), Patience(sleep=lambda _: None))
        for fault in (
            Fault("GET", "/x", 400, body=f'{{"message": "{said}"}}'),
            Fault("GET", "/x", 302, {"Location": f"http://{secret}.example/"}),
            Fault("GET", "/x", 0, times=9),
        ):
            laid.add(fault)
            with pytest.raises(ModelpackError) as caught:
                api.ask("GET", "/x")
            whole = "".join(traceback.format_exception(caught.value)) + repr(vars(api)) + caplog.text
            assert secret.lower() not in whole.lower()
            assert encoded.rstrip("=") not in whole
