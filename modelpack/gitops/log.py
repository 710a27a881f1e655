"""What git tells of a branch's past: commits with the files they changed, and what stood in those, newest first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

FORMAT = "%H%x00%P%x00%ct%x00%an%x00%ae%x00%cn%x00%ce%x00%B"
OPTIONS = ("-z", "--raw", "--no-abbrev", "--first-parent", "-m", "--no-show-signature", f"--format={FORMAT}")


@dataclass(frozen=True)
class Commit:
    """A commit as it describes itself; `at` is the committer's time in unix seconds.

    `merged` is the message of the newest commit that a merge brought in, "" for a commit that is no merge.
    """

    id: str
    parents: tuple[str, ...]
    at: int
    author: str
    author_email: str
    committer: str
    committer_email: str
    message: str
    merged: str = ""


@dataclass(frozen=True)
class Difference:
    """A file that a commit changed, against the first parent. Objects are ids, "" where there was or is no file."""

    path: str
    before: str
    after: str
    renamed_from: str = ""


def parse(data: bytes) -> Iterator[tuple[Commit, tuple[Difference, ...]]]:
    """The commits of `git log OPTIONS`, in its order."""
    words = iter(data.split(b"\0"))
    word = next(words, b"")
    while word:
        commit_id = word.decode()
        parents, at, author, email, committer, address, text = (next(words).decode(errors="replace") for _ in range(7))
        commit = Commit(
            commit_id, tuple(parents.split()), int(at), author, email, committer, address, message=text.strip()
        )
        changes = []
        for word in words:
            head = word.lstrip(b"\n")
            if not head.startswith(b":"):
                break
            _, _, before, after, status = head.decode().split()
            renamed = os.fsdecode(next(words)) if status[0] in "RC" else ""
            path = os.fsdecode(next(words))
            changes.append(Difference(path, _id(before), _id(after), renamed))
        else:
            word = b""
        yield commit, tuple(changes)


def _id(text: str) -> str:
    return text if text.strip("0") else ""
