"""Text for a forge to show, made so that it only shows: nobody is called, nothing is run, no issue is closed.

Reports carry names and words of others (a model's, a segment's, a path's). Where a forge would act on one, an invisible
character (word joiner, U+2060) comes between; `plain` takes it out again. Sources: GitHub docs, "Basic writing and
formatting syntax" and "Linking a pull request to an issue"; GitLab docs, "GitLab quick actions" and "Default closing
pattern"; Gitea docs, "Automatically linked references".
"""

from __future__ import annotations

import re

JOINER = "\u2060"
_MENTION = re.compile(r"(?<!\w)@(?=[\w.-])")  # not in v2@sha256:…
_REFERENCE = re.compile(r"(?<![&])([#!])(?=\d)")  # not in &#8203;
_ACTION = re.compile(r"^([ \t>*+-]*)/(?=[A-Za-z])", re.MULTILINE)
_CLOSING = re.compile(
    r"\b(clos|fix|resolv|implement)(e|es|ed|ing|s|d|)(?=[:,]?\s+(?:\S*[#!/]|[A-Z][A-Z0-9_]*-\d))", re.IGNORECASE
)
_MARKED = re.compile(f"([@#!]|(?:clos|fix|resolv|implement)){JOINER}|{JOINER}(?=/)", re.IGNORECASE)
_CUT = "\n\n… (cut here: longer than the forge takes)\n\n"


def harmless(text: str, longest: int = 60_000) -> str:
    """A body or comment in which mentions, references and commands are mere words. Too long a text loses its middle."""
    text = _broken(text)
    if len(text) > longest:
        half = (longest - len(_CUT)) // 2
        head, tail = text[:half], text[-half:]
        text = (head[: head.rfind("\n")] if "\n" in head else head) + _CUT + tail[tail.find("\n") + 1 :]
    return _broken(text)  # the cut may have made a line's beginning


def _broken(text: str) -> str:
    text = _CLOSING.sub(rf"\1{JOINER}\2", text)
    text = _MENTION.sub(f"@{JOINER}", text)
    text = _REFERENCE.sub(rf"\1{JOINER}", text)
    return _ACTION.sub(rf"\1{JOINER}/", text)


def plain(text: str) -> str:
    """What `harmless` was given, as long as that was not too long."""
    return _MARKED.sub(r"\1", text.replace("\r\n", "\n"))


def title_of(text: str) -> str:
    """One line that every forge takes: 255 characters."""
    line = harmless(" ".join(text.split()))
    return line if len(line) <= 255 else line[:254] + "…"
