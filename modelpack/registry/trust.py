"""Whom we speak to, and how: plain HTTP or TLS, which certificates, and what counts as the same place.

Plain HTTP is spoken only to loopback addresses and to the hosts (`host` or `host:port`, separated by commas) that the
environment variable MODELPACK_INSECURE_REGISTRIES lists. To the latter no credentials are ever sent: there is no way to
allow it, a port forwarded to this machine does as well.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from modelpack.errors import RefusedError, RemoteError

INSECURE_VARIABLE = "MODELPACK_INSECURE_REGISTRIES"


def speaks_plain(host: str) -> bool:
    """Whether `host[:port]` is spoken to without TLS."""
    return _is_loopback(_name(host)) or in_the_clear(host)


def in_the_clear(host: str) -> bool:
    """Whether what is sent to `host[:port]` crosses the network without TLS, where others could read it."""
    name = _name(host)
    listed = {each.strip() for each in os.environ.get(INSECURE_VARIABLE, "").split(",")}
    return bool({host, name} & listed) and not _is_loopback(name)


def _name(host: str) -> str:
    return SplitResult("", host, "", "", "").hostname or ""


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454): an Authorization header is for one origin alone."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def follow(url: str, target: str, subject: str) -> str:
    """Where a registry sends us: `target`, verbatim if absolute, else seen from `url`.

    Raises RefusedError for a place that is not encrypted and should be, RemoteError for what is no address.
    """
    try:
        url = urljoin(url, target)
        scheme = origin_of(url)[0]
    except ValueError as error:
        raise RemoteError(subject, "the registry refers to an address that is none") from error
    host = urlsplit(url).netloc.rpartition("@")[2]
    if scheme == "https" or (scheme == "http" and speaks_plain(host)):
        return url
    raise RefusedError(
        subject,
        f"the registry refers to {scheme}://{host}, which is not encrypted",
        f"let it know its own https address, or list that host in {INSECURE_VARIABLE}",
    )


def tls_context() -> ssl.SSLContext:
    """Trusts what this machine trusts (or SSL_CERT_FILE), and what requests does (or REQUESTS_CA_BUNDLE)."""
    context = ssl.create_default_context()
    bundle = Path(os.environ.get("REQUESTS_CA_BUNDLE") or requests.utils.DEFAULT_CA_BUNDLE_PATH)
    if bundle.is_dir():
        context.load_verify_locations(capath=bundle)
    else:
        context.load_verify_locations(cafile=bundle)
    return context


class TrustingAdapter(HTTPAdapter):
    """Makes requests use our context, which is asked for only when something speaks TLS."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        super().__init__(pool_maxsize=16)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {**pool, "ssl_context": self._context()}
