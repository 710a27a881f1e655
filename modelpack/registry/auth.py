"""Who we are to a registry: credentials from Docker's configuration, and the basic and bearer flows.

Sources: distribution project, "Token Authentication Specification" and "Docker Registry v2 authentication"; Docker's
config.json. Credential helpers are not asked.

A secret is only ever put into a request to the registry's own origin, or to the token server that it names, and never
where it would cross the network without TLS; no error shows one.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from urllib.parse import urlencode, urlsplit

from modelpack.errors import InputError, RefusedError, RemoteError
from modelpack.reference import DOCKER_HUB, Reference
from modelpack.registry.trust import in_the_clear

_HUB_NAMES = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True)
class Credentials:
    """A user and password, or an identity token that buys access tokens."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def find_credentials(registry: str) -> Credentials | None:
    """What $DOCKER_CONFIG/config.json, else ~/.docker/config.json, holds for a registry."""
    file = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        entries = json.loads(file.read_bytes()).get("auths") or {}
        for key, entry in entries.items():
            host = re.sub(r"^https?://", "", key).partition("/")[0]
            if host == registry or (host in _HUB_NAMES and registry in _HUB_NAMES):
                return _read(entry)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(file, f"cannot be read: {error.strerror}") from error
    except (ValueError, AttributeError, TypeError, RecursionError):
        # not chained: the decoder's own message may quote the file
        raise InputError(
            file, "is not a Docker configuration", "repair it, or log in again with docker login"
        ) from None
    return None


def _read(entry: Mapping[str, str]) -> Credentials | None:
    token = entry.get("identitytoken", "")
    if entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    else:
        user, password = entry.get("username", ""), entry.get("password", "")
    return Credentials(user, password.rstrip("\0"), token) if user or token else None


@dataclass(frozen=True)
class TokenRequest:
    """A question to a token server: GET without a form, else POST."""

    url: str
    headers: Mapping[str, str]
    form: Mapping[str, str] | None


Fetch = Callable[[TokenRequest], bytes]


class Authorizer:
    """Keeps the Authorization header for one repository, and renews it when the registry asks. Thread-safe."""

    def __init__(self, reference: Reference, fetch: Fetch) -> None:
        self._reference = reference
        self._fetch = fetch
        self._lock = Lock()
        self._header = ""
        self._writes = False  # whether the header may push

    def header(self, write: bool) -> str:
        """The header's value, "" if the registry should first say what it wants."""
        return self._header if self._writes or not write else ""

    def renew(self, challenge: str, used: str, write: bool) -> None:
        """Answer a 401's WWW-Authenticate; `used` is what the refused request carried. Raises RefusedError."""
        with self._lock:
            if self.header(write) != used:
                return  # another thread was faster
            scheme, wanted = parse_challenge(challenge)
            credentials = self._credentials()
            if scheme == "basic" and credentials and credentials.basic != used:
                self._header, self._writes = credentials.basic, True
            elif scheme == "bearer":
                self._writes = self._writes or write
                self._header = ""  # so that a failure leaves no stale one
                self._header = f"Bearer {self._token(wanted, credentials)}"
            else:
                raise self.refusal()

    def refusal(self) -> RefusedError:
        """What to say when the registry does not let us in."""
        host = self._reference.registry
        if in_the_clear(host):
            return self._unsafe(host)
        known = find_credentials(host) is not None
        problem = (
            f"the registry {host} refuses the login that is configured for it" if known else f"{host} wants a login"
        )
        return RefusedError(
            self._reference.name, problem, f"run docker login {host} without a credential helper, or set DOCKER_CONFIG"
        )

    def _credentials(self) -> Credentials | None:
        host = self._reference.registry
        return None if in_the_clear(host) else find_credentials(host)

    def _unsafe(self, host: str) -> RefusedError:
        return RefusedError(
            self._reference.name,
            f"{host} wants a login, which plain HTTP would show to the network",
            "give it TLS, or forward a port of this machine to it (kubectl port-forward, ssh -L)",
        )

    def _token(self, wanted: Mapping[str, str], credentials: Credentials | None) -> str:
        actions = "pull,push" if self._writes else "pull"
        question = {"scope": f"repository:{self._reference.repository}:{actions}"}
        if "service" in wanted:
            question["service"] = wanted["service"]
        realm = wanted.get("realm", "")
        server = urlsplit(realm)
        if credentials and server.scheme == "http" and in_the_clear(server.netloc):
            raise self._unsafe(server.netloc)
        if credentials and credentials.identity_token:
            form = {
                **question,
                "grant_type": "refresh_token",
                "client_id": "modelpack",
                "refresh_token": credentials.identity_token,
            }
            request = TokenRequest(realm, {}, form)
        else:
            url = realm + ("&" if "?" in realm else "?") + urlencode(question)
            request = TokenRequest(url, {"Authorization": credentials.basic} if credentials else {}, None)
        try:
            answer = json.loads(self._fetch(request))
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise RemoteError(self._reference.name, "the token server gave no token")
        return token


def parse_challenge(challenge: str) -> tuple[str, Mapping[str, str]]:
    """The scheme to use ("bearer" if offered, else "basic", else "") and its parameters (RFC 9110, section 11)."""
    for scheme in ("bearer", "basic"):
        if found := re.search(rf"(?:^|[\s,]){scheme}(?:\s+|$)(.*)", challenge, re.IGNORECASE | re.DOTALL):
            pairs = re.findall(r'([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s",]+))', found[1])
            parameters: dict[str, str] = {}
            for name, quoted, plain in pairs:
                parameters.setdefault(name.lower(), quoted or plain)
            return scheme, parameters
    return "", {}
