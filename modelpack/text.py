"""Somebody else's text for a terminal, a log or a page of ours: it never obeys what control characters ask for."""

from __future__ import annotations


def escaped(text: str) -> str:
    """With control characters as they are written in code: what was given can be told from what is shown."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def blanked(text: str, kept: str = "") -> str:
    """With a blank in the place of each control character but those in `kept`."""
    return "".join(each if each.isprintable() or each in kept else " " for each in text)
