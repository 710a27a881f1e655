"""Requests to webhooks, the gate and servers: each on a connection of its own, past any proxy.

A kept connection may be closed by the other side just as it is used again, which would look like a refusal.
"""

from __future__ import annotations

from typing import Any

import requests


def why(error: requests.RequestException) -> str:
    """Why a request got no answer, for people."""
    if isinstance(error, requests.Timeout):
        return "there was no answer in time"
    return "nothing answers there" if isinstance(error, requests.ConnectionError) else str(error)


def request(
    method: str, url: str, *, timeout: float, json: Any = None, redirects: bool = True, auth: Any = None
) -> requests.Response:
    """Send one request; raises requests.RequestException if there is no answer within `timeout` seconds."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, json=json, timeout=timeout, allow_redirects=redirects, auth=auth)
