"""A branch beside the base one: whose commits are on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelpack.gitops.commit import OWN, split
from modelpack.gitops.program import Git


@dataclass(frozen=True)
class Side:
    """A side branch. `ours`: every commit on it that the base lacks is one of our own, as we made it.

    `about` has the models that our commits there are about, each with its environment.
    """

    name: str
    tip: str
    ours: bool
    about: frozenset[tuple[str, str]] = field(default=frozenset(), compare=False)


def own_mark(tree: str, base: str) -> tuple[str, str]:
    """The trailer of our own commit: its tree, and the base's tip that it was made for."""
    return OWN, f"{tree} on {base}"


def walk(git: Git, tip: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """The newest commit of a side branch that is neither our own nor what our own was made on, "" if there is none;
    and what ours down to there are about.

    Such a commit is somebody else's, unless the base has it: that takes the base's history to know.
    """
    commit, base = tip, ""
    about: set[tuple[str, str]] = set()
    while commit and commit != base:
        tree, parents, text = _parse(git.do("cat-file", "commit", commit))
        trailers = split(text)[1]
        said = dict(trailers)
        marks = said.get(OWN, "").split()
        if len(parents) != 1 or len(marks) != 3 or marks[0] != tree:
            break
        about |= {(value, said.get("Environment", "")) for key, value in trailers if key == "Model"}
        base = marks[2]
        commit = parents[0]
        if commit != base and not _has(git, commit):
            break
    return ("" if commit == base else commit), frozenset(about)


def _has(git: Git, commit: str) -> bool:
    return not git.ask("cat-file", "-e", commit).code


def _parse(data: bytes) -> tuple[str, list[str], str]:
    head, _, text = data.decode(errors="replace").partition("\n\n")
    pairs = [line.partition(" ") for line in head.splitlines() if not line.startswith(" ")]
    tree = next((value for key, _, value in pairs if key == "tree"), "")
    return tree, [value for key, _, value in pairs if key == "parent"], text
