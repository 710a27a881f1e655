"""What a forge answered, and what it means: waiting, the next page, the words of an error. Pure.

Sources: RFC 9110 (Retry-After), RFC 8288 (Link); GitHub docs, "Rate limits for the REST API" and "Rate limits and query
limits for the GraphQL API"; GitLab docs, "User and IP rate limits".
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl

PASSING = frozenset({408, 425, 500, 502, 503, 504})
"""Statuses after which the same request may work."""

_MINUTE = 60.0  # what GitHub wants at least where it does not say how long


@dataclass(frozen=True)
class Answer:
    """A status, headers, and the parsed body: None where there is none, or none that is JSON."""

    url: str
    status: int
    headers: Mapping[str, str]
    data: object

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def at(data: object, *path: str) -> object:
    """What is at `path` in nested objects, None where there is nothing."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def limited(answer: Answer) -> float | None:
    """How many seconds the forge wants to be left alone; None if it means no rate limit."""
    errors = at(answer.data, "errors")
    graphql = answer.ok and isinstance(errors, list) and any(at(each, "type") == "RATE_LIMITED" for each in errors)
    if answer.status not in (403, 429) and not graphql:
        return None
    asked = retry_after(answer)
    if asked is not None:
        return asked
    left = {answer.headers.get("X-RateLimit-Remaining"), answer.headers.get("RateLimit-Remaining")}
    reset = answer.headers.get("X-RateLimit-Reset") or answer.headers.get("RateLimit-Reset") or ""
    if (answer.status == 429 or graphql or "0" in left) and re.fullmatch(r"[0-9]{9,11}", reset):
        return max(1.0, int(reset) - _now(answer))
    # 403 is a plain no as well; GitHub's secondary limits are told by their words alone
    meant = answer.status == 429 or graphql or "0" in left or "rate limit" in " ".join(words(answer.data)).lower()
    return _MINUTE if meant else None


def retry_after(answer: Answer) -> float | None:
    """What Retry-After asks for: seconds, or a date (seen from the forge's own clock); None if nothing."""
    text = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,7}", text):
        return float(text)
    date = _date(text)
    return None if date is None else max(0.0, date - _now(answer))


def next_page(answer: Answer) -> dict[str, str]:
    """The whole query of the next page, by the Link header; empty on the last one.

    Only the query counts: a forge behind a proxy often gives a host that it cannot be reached at.
    """
    for each in answer.headers.get("Link", "").split(","):
        found = re.fullmatch(r'\s*<([^<>]*)>\s*;.*\brel="?next"?.*', each)
        if found:
            return dict(parse_qsl(found[1].partition("?")[2]))
    return {}


def words(data: object, depth: int = 0) -> Iterator[str]:
    """The sentences in an error document of whatever shape: `message`, `error`, and lists and objects of them."""
    if isinstance(data, str):
        yield data
    elif depth < 4 and isinstance(data, list):
        for each in data[:5]:
            yield from words(each, depth + 1)
    elif depth < 4 and isinstance(data, dict):
        known = [data[key] for key in ("message", "error", "error_description", "errors") if key in data]
        for each in known or (list(data.values())[:5] if depth else ()):
            yield from words(each, depth + 1)


def _now(answer: Answer) -> float:
    date = _date(answer.headers.get("Date", ""))
    return time.time() if date is None else date


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
