"""How a commit is written: its message with trailers, its author, its signature."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from modelpack.definition import AUTHOR, CommitStyle
from modelpack.errors import InputError, RefusedError
from modelpack.gitops import template as renderer
from modelpack.gitops.program import QUIET, Git, without_login

OWN = "Modelpack-Tree"
"""The trailer of a commit on a side branch: its tree, and the base's tip that it was made for. A commit that somebody
amended has another tree than the one it names."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # git takes no NUL, UTF-8 no surrogate
_TRAILER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*: .*\S.*")
_MOST_SECONDS = 10.0
_FALLBACK_NAME = "modelpack"
_FALLBACK_EMAIL = "modelpack@localhost"
_SIGN_REMEDY = "set user.signingKey and gpg.format in git's configuration, or do not ask for a signature"


@dataclass(frozen=True)
class Style:
    """How a commit is written, as flags say it; `over` lays it over what model.yaml says.

    `template` is a jinja2 template of the whole message, "" for the usual one; `report` an address or a path.
    """

    author: str = ""
    signoff: bool = False
    sign: bool = False
    template: str = ""
    report: str = ""

    def over(self, written: CommitStyle) -> Style:
        return replace(
            self,
            author=self.author or written.author,
            signoff=self.signoff or written.signoff,
            sign=self.sign or written.sign,
            template=self.template or written.message,
        )


Trailers = list[tuple[str, str]]


def message(subject: str, body: str, trailers: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """A commit message; trailers without a value are left out."""
    pairs = trailers.items() if isinstance(trailers, Mapping) else trailers
    last = "".join(f"{key}: {one_line(value)}\n" for key, value in pairs if value)
    text = f"{one_line(subject)}\n\n{_CONTROL.sub(' ', body).strip()}".strip()
    return f"{text}\n\n{last}" if last else f"{text}\n"


def split(text: str) -> tuple[str, Trailers]:
    """A message without its last paragraph, and that as trailers; none if it is no block of trailers."""
    head, blank, last = text.strip().rpartition("\n\n")
    lines = last.split("\n")
    if not blank or not all(_TRAILER.fullmatch(line) for line in lines):
        return text.strip(), []
    pairs = (line.partition(": ") for line in lines)
    return head.strip(), [(key, value.strip()) for key, _, value in pairs]


def with_trailers(text: str, more: Iterable[tuple[str, str]]) -> str:
    """A message whose one block of trailers ends with `more`; what is there already is not repeated."""
    head, there = split(text)
    added = [(key, one_line(value)) for key, value in more if value]
    pairs = [*there, *(pair for pair in added if pair not in there)]
    pairs.sort(key=lambda pair: pair[0].lower() == "signed-off-by")  # a sign-off is the last word
    subject, _, body = head.partition("\n")
    return message(subject, body, pairs)


def from_template(template: str, values: Mapping[str, str]) -> str:
    """What a template makes of the values; raises InputError with the template's line for one that fails."""
    asked = json.dumps({"template": template, "values": dict(values)}).encode()
    command = [sys.executable, "-I", str(Path(renderer.__file__))]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, timeout=_MOST_SECONDS, check=False)
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        problem = f"does not end within {renderer.CPU_SECONDS} s, or takes too much memory"
        raise InputError("the commit message's template", problem) from error
    if "text" not in answer:
        line = f":{answer['line']}" if answer.get("line") else ""
        raise InputError(f"the commit message's template{line}", str(answer["problem"]))
    text = "\n".join(line.rstrip() for line in str(answer["text"]).splitlines()).strip()
    if not text or "\0" in text:
        raise InputError("the commit message's template", "gives no message" if not text else "gives a NUL byte")
    return text


class Writer:
    """Makes commit objects in a repository, as its git is configured."""

    def __init__(self, git: Git, scratch: Path) -> None:
        self._index = scratch / "index"
        self._git = replace(git, env={**git.env, "GIT_INDEX_FILE": str(self._index)}, settings=(*git.settings, *QUIET))
        self._signs: bool | None = None
        self._nobody: dict[str, str] | None = None

    def tree(self, onto: str, files: Mapping[str, tuple[str, bytes]]) -> str:
        """The tree of a commit with these files, (mode, bytes), in it; bytes go in as they are, past every filter."""
        self._index.unlink(missing_ok=True)
        self._git.do("read-tree", onto)
        lines = []
        for path, (mode, data) in files.items():
            blob = self._git.line("hash-object", "-w", "--stdin", "--no-filters", stdin=data)
            lines.append(f"{mode} {blob} 0\t".encode() + path.encode(errors="surrogateescape") + b"\0")
        self._git.do("update-index", "-z", "--index-info", stdin=b"".join(lines))
        return self._git.line("write-tree", "--missing-ok")  # a partial clone lacks what it never needed

    def commit(self, tree: str, parent: str, text: str, style: Style) -> str:
        """A commit object; raises RefusedError if it cannot be signed."""
        git = replace(self._git, env={**self._git.env, **self._identity(style)})
        if style.signoff:
            who = git.line("var", "GIT_COMMITTER_IDENT").rpartition(">")[0] + ">"
            text = with_trailers(text, [("Signed-off-by", who)])
        command = ["commit-tree", *(("-S",) if self._signed(style) else ()), "-p", parent, "-F", "-", tree]
        answer = git.ask(*command, stdin=text.encode())
        if answer.code and self._signed(style) and not git.stuck(answer.words):
            raise RefusedError(git.place, f"the commit cannot be signed: {answer.words}", _SIGN_REMEDY)
        return answer.text if not answer.code else git.line(*command, stdin=text.encode())

    def _signed(self, style: Style) -> bool:
        if self._signs is None:
            self._signs = self._git.ask("config", "--type=bool", "--get", "commit.gpgSign").text == "true"
        return style.sign or self._signs

    def _identity(self, style: Style) -> dict[str, str]:
        """Variables for git: the author that is asked for, and somebody where the person has no identity."""
        if self._nobody is None:
            self._nobody = {}
            for role in ("AUTHOR", "COMMITTER"):
                if self._git.ask("-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT").code:
                    self._nobody |= {f"GIT_{role}_NAME": _FALLBACK_NAME, f"GIT_{role}_EMAIL": _FALLBACK_EMAIL}
        if not style.author:
            return self._nobody
        match = AUTHOR.fullmatch(style.author)
        if match is None:
            raise InputError(style.author, "is no author", "write it as Name <address>")
        return {**self._nobody, "GIT_AUTHOR_NAME": match[1], "GIT_AUTHOR_EMAIL": match[2]}


def one_line(text: str) -> str:
    """A text for one line: without control characters and logins, its blanks made one."""
    return without_login(" ".join("".join(each if each.isprintable() else " " for each in text).split()))
