"""A branch beside the base one: whose commits are on it."""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.gitops.commit import OWN, split
from modelpack.gitops.program import Git


@dataclass(frozen=True)
class Side:
    """A side branch. `ours`: every commit on it that the base lacks is one of our own, as we made it."""

    name: str
    tip: str
    ours: bool


def own_mark(tree: str, base: str) -> tuple[str, str]:
    """The trailer of our own commit: its tree, and the base's tip that it was made for."""
    return OWN, f"{tree} on {base}"


def stray(git: Git, tip: str) -> str:
    """The newest commit of a side branch that is neither our own nor what our own was made on; "" if there is none.

    Such a commit is somebody else's, unless the base has it: that takes the base's history to know.
    """
    commit, base = tip, ""
    while commit and commit != base:
        tree, parents, text = _parse(git.do("cat-file", "commit", commit))
        marks = dict(split(text)[1]).get(OWN, "").split()
        if len(parents) != 1 or len(marks) != 3 or marks[0] != tree:
            return commit
        base = marks[2]
        if parents[0] != base and not _has(git, parents[0]):
            return parents[0]
        commit = parents[0]
    return ""


def _has(git: Git, commit: str) -> bool:
    return not git.ask("cat-file", "-e", commit).code


def _parse(data: bytes) -> tuple[str, list[str], str]:
    head, _, text = data.decode(errors="replace").partition("\n\n")
    pairs = [line.partition(" ") for line in head.splitlines() if not line.startswith(" ")]
    tree = next((value for key, _, value in pairs if key == "tree"), "")
    return tree, [value for key, _, value in pairs if key == "parent"], text
