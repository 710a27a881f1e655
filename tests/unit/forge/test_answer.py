from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from requests.structures import CaseInsensitiveDict

from modelpack.forge.answer import Answer, limited, next_page, parsed, words

NOW = 1_800_000_000
DATE = {"Date": formatdate(NOW, usegmt=True)}
SECONDARY = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}
GRAPHQL = {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}


def answer(status: int = 200, data: object = None, **headers: str) -> Answer:
    spelled = {key.replace("_", "-"): value for key, value in headers.items()}
    return Answer("https://api.example/x", status, CaseInsensitiveDict({**DATE, **spelled}), data)


@pytest.mark.parametrize(
    ("status", "data", "headers", "seconds"),
    [
        (200, None, {"x_ratelimit_remaining": "0"}, None),
        (403, {"message": "no"}, {}, None),
        (403, {"message": "no"}, {"x_ratelimit_remaining": "4999", "x_ratelimit_reset": str(NOW + 30)}, None),
        (403, None, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(NOW + 30)}, 30),
        (403, None, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(NOW - 30)}, 1),
        (403, None, {"x_ratelimit_remaining": "0"}, 60),
        (403, None, {"retry_after": "17"}, 17),
        (403, SECONDARY, {}, 60),
        (403, SECONDARY, {"x_ratelimit_remaining": "4000"}, 60),
        (429, None, {}, 60),
        (429, None, {"retry_after": "0"}, 0),
        (429, None, {"retry_after": formatdate(NOW + 20, usegmt=True)}, 20),
        (429, None, {"ratelimit_remaining": "0", "ratelimit_reset": str(NOW + 40)}, 40),
        (429, None, {"ratelimit_reset": "soon", "retry_after": "later"}, 60),
        (200, GRAPHQL, {"x_ratelimit_reset": str(NOW + 50)}, 50),
        (200, {"errors": [{"type": "UNPROCESSABLE"}]}, {}, None),
    ],
)
def test_how_long_the_forge_wants_to_be_left_alone(
    status: int, data: object, headers: dict[str, str], seconds: float | None
) -> None:
    assert limited(answer(status, data, **headers)) == seconds


def test_without_a_date_our_own_clock_counts() -> None:
    found = Answer("", 429, CaseInsensitiveDict({"X-RateLimit-Reset": str(int(time.time()) + 100)}), None)
    assert 95 < (limited(found) or 0) <= 100


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ("", {}),
        ('<https://elsewhere.example/a?page=3&limit=5>; rel="next", <https://api.example/a?page=9>; rel="last"',
         {"page": "3", "limit": "5"}),
        ('<https://api.example/a?page=1>; rel="first", </a?page=2>; rel=next', {"page": "2"}),
        ('<https://api.example/a?page=9>; rel="last"', {}),
        ("<<>>; rel", {}),
    ],
)  # fmt: skip
def test_the_next_page(link: str, query: dict[str, str]) -> None:
    assert next_page(answer(link=link)) == query


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"message": "Not Found", "documentation_url": "https://x"}, ["Not Found"]),
        (
            {"message": "Validation Failed", "errors": [{"code": "custom", "message": "exists"}]},
            ["Validation Failed", "exists"],
        ),
        ({"message": {"base": ["is invalid"]}}, ["is invalid"]),
        ({"error": "insufficient_scope", "error_description": "needs api"}, ["insufficient_scope", "needs api"]),
        ({"message": ["one", "two"]}, ["one", "two"]),
        (None, []),
        ([[[[[["deep"]]]]]], []),
        ({"message": 3}, []),
    ],
)
def test_the_words_of_an_error(data: object, said: list[str]) -> None:
    assert list(words(data)) == said


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"a":'])
def test_a_body_that_is_no_json_is_nothing(body: bytes) -> None:
    assert parsed(body) is None
