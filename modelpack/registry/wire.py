"""Requests to one registry: addresses, authorization, redirects, retries, and what went wrong in words.

Everything but the bodies of uploads passes here. Sources: OCI distribution specification 1.1; RFC 9110 for Retry-After.

An Authorization header goes to the registry's own origin alone: redirects and upload locations elsewhere get none.
Registries that speak plain HTTP (see `trust`) are reached directly, all others through the environment's proxy if any.
"""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from modelpack.errors import InputError, IntegrityError, ModelpackError, NotFoundError, RefusedError, RemoteError
from modelpack.reference import DOCKER_HUB, Reference
from modelpack.registry.auth import Authorizer, TokenRequest
from modelpack.registry.content import MANIFEST_LIMIT
from modelpack.registry.trust import INSECURE_VARIABLE, TrustingAdapter, follow, origin_of, speaks_plain, tls_context

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 300.0
"""Seconds. A registry over an object store may copy a whole blob before it answers the last request of an upload."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may work."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5


@dataclass(frozen=True)
class Patience:
    """How long to go on trying. Seconds; the pauses double and are jittered, so that many clients spread out."""

    tries: int = 5
    first: float = 0.5
    longest: float = 10.0
    longest_asked: float = 60.0  # the most that a registry's Retry-After may ask for

    def wait(self, attempt: int, asked: str = "") -> None:
        """Sleep after the failed attempt number `attempt`, counted from 0."""
        pause = min(self.longest, self.first * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311
        if asked.isascii() and asked.isdigit():
            pause = max(pause, min(float(asked), self.longest_asked))
        time.sleep(pause)


@dataclass(frozen=True)
class Answer:
    """A status, headers, and a body of at most 4 MiB. `url` is where it came from."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Wire:
    """Speaks to the registry of one reference. Thread-safe."""

    def __init__(self, reference: Reference, patience: Patience | None = None) -> None:
        self.reference = reference
        self.patience = patience or Patience()
        host = "registry-1.docker.io" if reference.registry == DOCKER_HUB else reference.registry
        self.origin = f"{'http' if speaks_plain(host) else 'https'}://{host}"
        try:
            origin_of(self.origin)
        except ValueError as error:
            raise InputError(reference.name, f"{host!r} is not a host and port") from error
        self.base = f"{self.origin}/v2/{reference.repository}"
        self._authorizer = Authorizer(reference, self._fetch_token)
        self._session = requests.Session()
        self._session.auth = _AsIs()
        self._session.trust_env = self.origin.startswith("https:")
        self._session.mount("https://", TrustingAdapter(lambda: self.tls))
        self._session.mount("http://", HTTPAdapter(pool_maxsize=16))

    @cached_property
    def tls(self) -> ssl.SSLContext:
        return tls_context()

    def request(self, method: str, url: str, headers: Mapping[str, str] | None = None, data: bytes = b"") -> Answer:
        """One small request, repeated while a failure may pass. Raises for 401 and 403, answers any other status."""
        return self._patiently(lambda: self._authorized(method, url, headers or {}, data, _whole))

    def stream(self, url: str) -> requests.Response:
        """GET a blob; its body is still to be read. Raises for every status but 200."""
        response = self._patiently(lambda: self._authorized("GET", url, {}, b"", _unread))
        if isinstance(response, Answer):
            raise self.error(response, "the blob cannot be read")
        return response

    def forget(self, url: str) -> None:
        """Tell the registry that an upload was given up; whether it hears does not matter."""
        headers = self.authorization(url, write=True)
        try:
            self._session.delete(url, headers=headers, timeout=CONNECT_TIMEOUT, allow_redirects=False).close()
        except requests.RequestException:
            return

    def authorization(self, url: str, *, write: bool) -> dict[str, str]:
        """The Authorization header for a URL: none unless it is the registry's own."""
        header = self._authorizer.header(write) if origin_of(url) == origin_of(self.origin) else ""
        return {"Authorization": header} if header else {}

    def renew(self, answer: Answer, used: Mapping[str, str], *, write: bool) -> None:
        """Get a new authorization after a 401 of the registry; raises RefusedError where there is none to get."""
        if origin_of(answer.url) != origin_of(self.origin):
            raise self.error(answer, "a server that the registry refers to refuses us")
        self._authorizer.renew(answer.headers.get("WWW-Authenticate", ""), used.get("Authorization", ""), write)

    def location(self, answer: Answer) -> str:
        """Where an answer's Location leads, verbatim if absolute."""
        target = answer.headers.get("Location", "")
        if not target:
            raise RemoteError(self.reference.name, "the registry does not say where to upload to (no Location)")
        return follow(answer.url, target, self.reference.name)

    def error(self, answer: Answer, problem: str) -> ModelpackError:
        """What an unwanted answer means, with the registry's own words if it has some."""
        said = _words(answer.body)
        name = self.reference.name
        if answer.status == 401:
            return self._authorizer.refusal()
        if answer.status == 403:
            return RefusedError(name, f"{problem}: the registry denies it{said}", "ask for the right to do so")
        if answer.status == 404:
            return NotFoundError(name, f"{problem}: the registry does not have it{said}", "check the name")
        if answer.status == 400 and b"DIGEST_INVALID" in answer.body:
            return IntegrityError(name, f"{problem}: the registry got other bytes than were sent{said}")
        remedy = "try again" if answer.status in PASSING else ""
        return RemoteError(name, f"{problem}: the registry answers {answer.status}{said}", remedy)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        last = self.patience.tries - 1
        for number in range(last + 1):
            asked = ""
            try:
                answer = attempt()
            except requests.exceptions.SSLError as error:
                raise self._broken(error) from error
            except requests.RequestException as error:
                if number == last:
                    raise self._broken(error) from error
            else:
                if not isinstance(answer, Answer) or answer.status not in PASSING or number == last:
                    return answer
                asked = answer.headers.get("Retry-After", "")
            self.patience.wait(number, asked)
        raise AssertionError("tries is at least 1")

    def _broken(self, error: BaseException) -> RemoteError:
        if _met_plain_http(error):
            host = self.origin.removeprefix("https://")
            remedy = f"if it speaks plain HTTP and you trust the network, list {host} in {INSECURE_VARIABLE}"
            return RemoteError(self.reference.name, f"the registry at {self.origin} does not speak TLS", remedy)
        problem = f"the registry cannot be reached at {self.origin}: {reason(error)}"
        return RemoteError(self.reference.name, problem, "check the address and that it runs, then try again")

    def _authorized(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes,
        take: Callable[[requests.Response], T | Answer],
    ) -> T | Answer:
        write = method not in ("GET", "HEAD")
        for number in range(2):
            used = self.authorization(url, write=write)
            taken = self._followed(method, url, {**headers, **used}, data, take)
            if not isinstance(taken, Answer) or taken.status not in (401, 403):
                return taken
            if taken.status == 403 or number == 1:
                raise self.error(taken, "access is refused")
            self.renew(taken, used, write=write)
        raise AssertionError("the second round returns or raises")

    def _followed(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes,
        take: Callable[[requests.Response], T | Answer],
    ) -> T | Answer:
        for _ in range(_MOST_REDIRECTS):
            response = self._session.request(
                method,
                url,
                headers={"Accept-Encoding": "identity", **headers},
                data=data,
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT, ANSWER_TIMEOUT),
            )
            target = response.headers.get("Location")
            if method != "GET" or response.status_code not in _REDIRECTS or not target:
                return take(response)
            response.close()
            url = follow(url, target, self.reference.name)
            if origin_of(url) != origin_of(self.origin):
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
        raise RemoteError(self.reference.name, "the registry redirects in a circle")

    def _fetch_token(self, request: TokenRequest) -> bytes:
        def ask() -> Answer:
            response = self._session.request(
                "POST" if request.form else "GET",
                follow(self.origin, request.url, self.reference.name),
                headers=dict(request.headers),
                data=request.form,
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT, ANSWER_TIMEOUT),
            )
            return _whole(response)

        answer = self._patiently(ask)
        if not answer.ok:
            raise self.error(answer, "the token server gives no token")
        return answer.body


class _AsIs(AuthBase):
    """Keeps requests from taking an Authorization out of ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def reason(error: BaseException | None) -> str:
    """The operating system's words at the bottom of a chain of network errors."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({error.verify_message})"
        if isinstance(error, TimeoutError | requests.Timeout):
            return "it did not answer in time"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        inner = next((each for each in error.args if isinstance(each, BaseException)), None)
        error = getattr(error, "reason", None) or inner or error.__cause__ or error.__context__
        if not isinstance(error, BaseException):
            break
    return "the connection was cut"


def _met_plain_http(error: BaseException | None) -> bool:
    """Whether a TLS handshake was answered with something else: OpenSSL 3.2 and later, and those before."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return True
        error = error.__cause__ or error.__context__
    return False


def _whole(response: requests.Response) -> Answer:
    """Read an answer to its end, but no more than the largest manifest and a byte."""
    with response:
        body = bytearray()
        for piece in response.iter_content(64 << 10):
            body += piece
            if len(body) > MANIFEST_LIMIT:
                break
        return Answer(response.url, response.status_code, CaseInsensitiveDict(response.headers), bytes(body))


def _unread(response: requests.Response) -> requests.Response | Answer:
    return response if response.status_code == 200 else _whole(response)


def _words(body: bytes) -> str:
    """The message of a registry's error document (distribution specification, "Error Codes"), "" for anything else."""
    try:
        first = json.loads(body)["errors"][0]
        text = str(first.get("message") or first.get("code") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return f" ({' '.join(text.split())[:200]})" if text else ""
