"""Requests to one forge's API: the token, retries, rate limits, pages, and what went wrong in words.

The token goes to the API's own origin alone, and no error, log or representation shows it: not even where a server
echoes it.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError

from modelpack.errors import ModelpackError, NotFoundError, RefusedError, RemoteError
from modelpack.forge.answer import PASSING, Answer, at, limited, next_page, parsed, retry_after, words

T = TypeVar("T")

MOST_BYTES = 16 << 20
MOST_PAGES = 40
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3


class UnsureError(RemoteError):
    """Nobody knows whether the forge did it: the answer to a request that is not to be repeated blindly got lost."""


@dataclass(frozen=True)
class Patience:
    """How long to go on trying. Seconds; pauses double and are jittered, so that many clients spread out."""

    tries: int = 4
    first: float = 0.5
    longest: float = 8.0
    most: float = 60.0  # all that a forge's rate limits may make one request wait
    connect: float = 10.0  # for a connection
    answer: float = 60.0  # for a whole answer
    sleep: Callable[[float], None] = time.sleep

    def pause(self, attempt: int, asked: float = 0) -> None:
        """Sleep after the failed attempt number `attempt`, counted from 0."""
        usual = min(self.longest, self.first * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311
        self.sleep(max(usual, min(asked, self.most)))


@dataclass(frozen=True)
class Access:
    """Where an API is and how to get in. `subject` names the project in messages, `remedy` says how to give a token."""

    base: str
    subject: str
    token: str = field(repr=False)
    scheme: str = "Bearer"
    remedy: str = ""


class Api:
    """One forge's API, as seen from one project."""

    def __init__(self, access: Access, patience: Patience | None = None) -> None:
        self.subject = access.subject
        self.patience = patience or Patience()
        self._access = access
        self._session = requests.Session()
        self._session.auth = _Token(access)
        self._session.headers.update({"Accept": "application/json", "User-Agent": "modelpack"})

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str | int] | None = None,
        *,
        repeatable: bool | None = None,
        accept: Collection[int] = (),
    ) -> Answer:
        """One request; `path` is below the API's base, or whole. Answers with success or a status in `accept`.

        What is not `repeatable` (by default POST) is sent again only if it surely did not arrive. Raises UnsureError
        where that is not known, RefusedError, NotFoundError and RemoteError for what the forge says otherwise.
        """
        again = method != "POST" if repeatable is None else repeatable
        url = urljoin(self._access.base + "/", path.removeprefix("/"))
        waited, last = 0.0, self.patience.tries - 1
        for attempt in range(last + 1):
            try:
                answer = self._followed(method, url, body, query)
            except requests.RequestException as error:
                lost = f"the forge does not answer: {self._reason(error)}"
                if not (again or _never_sent(error)):
                    raise UnsureError(self.subject, lost, "try again") from error
                if attempt == last or isinstance(error, requests.exceptions.SSLError):
                    raise RemoteError(self.subject, lost, "check the address, then try again") from error
                self.patience.pause(attempt)
                continue
            wait = limited(answer)
            if wait is not None:
                waited += wait
                if waited > self.patience.most or attempt == last:
                    raise self._used_up(wait)
                self.patience.sleep(wait)
            elif answer.status in PASSING:
                if not again:
                    raise UnsureError(
                        self.subject, f"the forge answers {answer.status}{self._said(answer)}", "try again"
                    )
                if attempt == last:
                    break
                self.patience.pause(attempt, retry_after(answer) or 0)
            else:
                break
        if answer.ok or answer.status in accept:
            return answer
        raise self.error(answer)

    def pages(self, path: str, query: Mapping[str, str | int]) -> Iterator[object]:
        """The items of a list over all its pages, of which MOST_PAGES are read at most."""
        for _ in range(MOST_PAGES):
            answer = self.ask("GET", path, query=query)
            if not isinstance(answer.data, list):
                raise self.odd("a list")
            yield from answer.data
            following = next_page(answer)
            if not following or not answer.data:
                return
            query = following

    def surely(self, post: Callable[[], T], look: Callable[[], T | None]) -> T:
        """Do what must not be done twice: where the answer got lost, `look` whether it is there before trying again."""
        for attempt in range(self.patience.tries):
            try:
                return post()
            except UnsureError:
                self.patience.pause(attempt)
                found = look()
                if found is not None:
                    return found
                if attempt == self.patience.tries - 1:
                    raise
        raise AssertionError("the last round returns or raises")

    def error(self, answer: Answer, what: str = "") -> ModelpackError:
        """What an unwanted answer means, with the forge's own words if it has some."""
        said, subject = self._said(answer), what or self.subject
        if answer.status == 401:
            return RefusedError(subject, f"the forge does not accept the token{said}", self._access.remedy)
        if answer.status == 403:
            return RefusedError(subject, f"the forge denies it{said}", "give the token the right to do so")
        if answer.status == 404:
            return NotFoundError(subject, f"not found{said}", "check the name, and that the token may see the project")
        if answer.status in PASSING:
            return RemoteError(subject, f"the forge answers {answer.status}{said}", "try again")
        return RefusedError(subject, f"the forge refuses it with {answer.status}{said}")

    def odd(self, wanted: str) -> RemoteError:
        """An answer that is not what the API's documentation says."""
        remedy = "check that pullRequest.forge and .url in model.yaml name the forge's kind and the address of its API"
        return RemoteError(self.subject, f"the forge answers something else than {wanted}", remedy)

    # reading what came back: nothing in it is to be trusted

    def text(self, data: object, *path: str) -> str:
        """A string at `path`, "" for null or nothing; on one line, without anything that moves a terminal's cursor."""
        return self._clean(self.whole(data, *path))

    def whole(self, data: object, *path: str) -> str:
        """A string at `path` as it is, "" for null or nothing."""
        value = at(data, *path)
        if value is not None and not isinstance(value, str):
            raise self.odd(f"text for {'.'.join(path)}")
        return self._redacted(value or "")

    def number(self, data: object, *path: str) -> int:
        value = at(data, *path)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.odd(f"a number for {'.'.join(path)}")
        return value

    def items(self, data: object, *path: str) -> list[object]:
        """A list at `path`, empty for null or nothing."""
        value = at(data, *path)
        if value is not None and not isinstance(value, list):
            raise self.odd(f"a list for {'.'.join(path)}")
        return value or []

    def _followed(self, method: str, url: str, body: object, query: Mapping[str, str | int] | None) -> Answer:
        for _ in range(_MOST_REDIRECTS):
            if _origin(url) != _origin(self._access.base):
                remedy = "name the address it has now in pullRequest.url of model.yaml"
                raise RemoteError(
                    self.subject, f"the forge sends us to another place, {self._clean(_place(url))}", remedy
                )
            answer = self._once(method, url, body, query)
            target = answer.headers.get("Location", "")
            if answer.status not in _REDIRECTS or not target:
                return answer
            if method != "GET" and answer.status not in (307, 308):
                raise RemoteError(self.subject, "the forge has moved it", "use the project's new address")
            url, query = urljoin(answer.url, target), None
        raise RemoteError(self.subject, "the forge redirects in a circle")

    def _once(self, method: str, url: str, body: object, query: Mapping[str, str | int] | None) -> Answer:
        end = time.monotonic() + self.patience.answer
        with self._session.request(
            method,
            url,
            params=query,
            json=body,
            stream=True,
            allow_redirects=False,
            timeout=(self.patience.connect, self.patience.answer),
        ) as response:
            whole = bytearray()
            try:
                # whatever is there already: to wait for a full piece would let a trickle go on for ever
                while piece := response.raw.read1(64 << 10, decode_content=True):
                    whole += piece
                    if len(whole) > MOST_BYTES or time.monotonic() > end:
                        raise RemoteError(
                            self.subject, f"the forge's answer is larger or slower than is good ({len(whole)} bytes)"
                        )
            except HTTPError as error:
                raise requests.ConnectionError(error) from error
            return Answer(response.url, response.status_code, response.headers, parsed(bytes(whole)))

    def _used_up(self, wait: float) -> RemoteError:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + wait))
        return RemoteError(self.subject, "the forge's rate limit is used up", f"come back at {when}, in {wait:.0f} s")

    def _said(self, answer: Answer) -> str:
        """The forge's own words, not too many."""
        text = self._clean("; ".join(words(answer.data)))
        return f" ({text[:300]})" if text else ""

    def _clean(self, text: str) -> str:
        """On one line, without anything that moves a terminal's cursor."""
        return "".join(each for each in " ".join(self._redacted(text).split()) if each.isprintable())

    def _redacted(self, text: str) -> str:
        """Without the token, in whatever guise."""
        for secret in _guises(self._access.token):
            text = text.replace(secret, "***")
        return text

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, requests.Timeout):
            return "it took too long"
        if isinstance(error, requests.exceptions.SSLError):
            return "its certificate is not trusted"
        return "it cannot be reached" if _never_sent(error) else "the connection was cut"


class _Token(AuthBase):
    """Puts the token into each request, and keeps requests from taking a login out of ~/.netrc."""

    def __init__(self, access: Access) -> None:
        self._header = f"{access.scheme} {access.token}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


def _never_sent(error: BaseException) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    inner = error.args[0] if error.args else None
    return isinstance(inner, MaxRetryError) and isinstance(inner.reason, NewConnectionError)


def _guises(token: str) -> list[str]:
    """As it is, as a host name or a query would spell it, and in a basic login; the longest first."""
    basic = [base64.b64encode(each.encode()).decode().rstrip("=") for each in (token, f":{token}", f"token:{token}")]
    return sorted(
        {each for each in (token, token.lower(), quote(token, safe=""), *basic) if each}, key=len, reverse=True
    )


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", url, None


def _place(url: str) -> str:
    scheme, host, port = _origin(url)
    return f"{scheme}://{host}" + (f":{port}" if port not in (80, 443, None) else "")
