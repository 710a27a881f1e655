from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.forge.text import JOINER, harmless, plain, title_of


@pytest.mark.parametrize(
    "text",
    [
        "@bob",
        "thanks, @bob!",
        "(@acme/ml)",
        "@@bob",
        "`@bob`",
        "Fixes #3",
        "closes: acme/models#3",
        "Resolves https://github.com/acme/models/issues/3",
        "Implements PROJ-12",
        "see !12",
        "/merge",
        "table\n  /close\r\n> /approve",
    ],
)
def test_what_a_forge_would_act_on_is_broken_and_comes_back(text: str) -> None:
    shown = harmless(text)
    assert shown != text
    assert not re.search(r"(?<!\w)@\w|[#!]\d|^[ >]*/\w|\b(fixes|closes|resolves|implements)\b", shown, re.I | re.M)
    assert plain(shown) == text.replace("\r\n", "\n")
    assert harmless(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "registry.example.com/models/mpg:v2@sha256:" + "0" * 64,
        '<!-- modelpack {"digest": "sha256:00"} -->',
        "| error | 0.12 | **0.10** |",
        "bob@example.com",
        "https://gate.example.com/rollouts/1",
        "The prefix is fixed.",
        "&#8203; # Heading",
    ],
)
def test_what_is_only_text_stays(text: str) -> None:
    assert harmless(text) == text


@given(st.text(alphabet="@/#!a1 \n>-fixes:closes", max_size=60))
def test_any_text_comes_back(text: str) -> None:
    assert plain(harmless(text)) == text
    assert harmless(harmless(text)) == harmless(text)


def test_too_long_a_text_loses_its_middle() -> None:
    rows = "\n".join(f"row {number}" for number in range(20_000))
    shown = harmless(f"{rows}\n<!-- mark -->")
    assert len(shown) <= 60_000
    assert shown.startswith("row 0\nrow 1\n")
    assert shown.endswith("row 19999\n<!-- mark -->")
    assert "longer than the forge takes" in shown


@pytest.mark.parametrize("text", ["@a " * 20_000, "@a " * 40_000, "x/merge" * 20_000, "fixes #1\n" * 9_000])
def test_too_long_a_text_stays_in_bounds_and_harmless(text: str) -> None:
    shown = harmless(text)
    assert 59_000 < len(shown) <= 65_536
    assert not re.search(r"(?<!\w)@\w|#\d|^/\w", shown, re.M)


def test_a_title_is_one_line() -> None:
    assert title_of("mpg:\n v1 -> v2") == "mpg: v1 -> v2"
    assert title_of("@bob") == f"@{JOINER}bob"
    assert len(title_of("x" * 300)) == 255
