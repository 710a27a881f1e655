"""Who may write, and who may read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi import HTTPException, Request

from modelpack.errors import InputError, ModelpackError, NotFoundError
from modelpack.gate.access import Access

ADA, BOB = "a" * 24, "b" * 24


def request(authorization: str | None) -> Request:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    return Request({"type": "http", "headers": headers})


def writes(access: Access, authorization: str | None) -> Any:
    try:
        return asyncio.run(access.writer(request(authorization)))
    except HTTPException as error:
        assert error.headers == {"WWW-Authenticate": "Bearer"}
        return error.status_code


@pytest.mark.parametrize(
    ("authorization", "who"),
    [
        (f"Bearer {ADA}", "ada"),
        (f"bearer  {BOB} ", "bob"),
        (f"Bearer {ADA[:-1]}", 401),
        (f"Bearer {ADA}a", 401),
        (f"Basic {ADA}", 401),
        ("Bearer \xff", 401),
        ("Bearer", 401),
        (ADA, 401),
        (None, 401),
    ],
)
def test_a_token_says_who_it_is(authorization: str | None, who: str | int) -> None:
    assert writes(Access(text=f"ada={ADA} bob={BOB}"), authorization) == who


def test_a_folder_of_tokens_is_read_again(tmp_path: Path) -> None:
    access = Access(tmp_path)
    assert writes(access, None) == ""  # while there are none, nobody needs one
    (tmp_path / ".2026").mkdir()
    (tmp_path / ".2026" / "ada").write_text(ADA + "\n")
    (tmp_path / "ada").symlink_to(".2026/ada")  # as Kubernetes mounts a Secret
    assert writes(access, f"Bearer {ADA}") == "ada" and writes(access, None) == 401
    (tmp_path / "ada").unlink()
    (tmp_path / "bob").write_text(BOB)
    assert writes(access, f"Bearer {ADA}") == 401 and writes(access, f"Bearer {BOB}") == "bob"
    (tmp_path / "bob").unlink()
    assert writes(access, None) == writes(access, f"Bearer {BOB}") == 401  # the last one is gone: that opens nothing


def test_reading_needs_one_too_unless_anyone_reads() -> None:
    with pytest.raises(HTTPException):
        asyncio.run(Access(text=f"ada={ADA}").reader(request(None)))
    asyncio.run(Access(text=f"ada={ADA}").reader(request(f"Bearer {ADA}")))
    asyncio.run(Access(text=f"ada={ADA}", anyone_reads=True).reader(request(None)))


@pytest.mark.parametrize("text", [f"={ADA}", ADA, "ada=short", "ada=" + "é" * 24, "a\x07=" + ADA])
def test_what_is_no_token_is_refused_and_never_said(text: str) -> None:
    with pytest.raises(InputError) as wrong:
        Access(text=text).tokens()
    assert "short" not in str(wrong.value).replace("shorter", "") and ADA not in str(wrong.value)
    assert ADA not in repr(Access(text=f"ada={ADA}"))


def test_a_folder_that_is_not_there_opens_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Access(tmp_path / "none").tokens()
    (tmp_path / "ada").write_bytes(b"\xff" * 24)
    with pytest.raises(ModelpackError):
        Access(tmp_path).tokens()
