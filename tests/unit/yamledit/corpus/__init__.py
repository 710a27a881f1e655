"""Manifests in the styles that people write, each with a target in it and the bytes that no edit may touch.

`corpus(count)` is the same for everybody who asks: the tests prove the edit on it, the benchmarks compare others'. What
an edit did is judged by `reference`, with a parser that the code under test does not use.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelpack.target import WORKLOADS, Target
from tests.unit.yamledit.corpus import kinds
from tests.unit.yamledit.corpus.kinds import DIGEST, IMAGE, POLICY, REPOSITORY, TAG, Made
from tests.unit.yamledit.corpus.style import Alias, Anchor, Inner, Slot, Style, write

__all__ = ["DIGEST", "FAMILIES", "IMAGE", "POLICY", "REPOSITORY", "TAG", "Case", "Place", "corpus", "draw", "make"]

FAMILIES: dict[str, Callable[[random.Random], Made]] = {
    **{f"{kind} init container": kinds.workload(kind, "init_container") for kind in WORKLOADS},
    **{f"{kind} container": kinds.workload(kind, "container") for kind in WORKLOADS},
    **{f"{kind} volume": kinds.workload(kind, "volume") for kind in ("Deployment", "StatefulSet", "Pod")},
    "Deployment with a marker": kinds.marked("Deployment", by_name=True),
    "anchors": kinds.shared("Deployment"),
    "InferenceService": kinds.inference_service,
    "Kustomization": kinds.kustomization,
    "Kustomization, incomplete": kinds.incomplete,
    "Kustomization, patch": kinds.patched,
    **{f"values, {shape}": kinds.helm_values(shape) for shape in ("text", "split", "three", "list")},
    **{f"HelmRelease, {shape}": kinds.release("HelmRelease", shape) for shape in ("text", "split")},
    **{f"Application, {shape}": kinds.release("Application", shape) for shape in ("text", "split")},
    "Application, values in a text": kinds.application_text,
    "marker, Deployment": kinds.marked("Deployment", by_name=False),
    "marker, CronJob": kinds.marked("CronJob", by_name=False),
    "marker, HelmRelease": kinds.marked_values,
    "kpt": kinds.kpt,
    "path": kinds.anything,
}


@dataclass(frozen=True)
class Place:
    """Where a value of the target is for a parser: document, keys and indices; `old` and `new` are its whole text."""

    document: int
    path: tuple[str | int, ...]
    old: str
    new: str


@dataclass(frozen=True)
class Case:
    """A file, and what has to come of it. `adds` and `unsafe` are those of `kinds.Made`."""

    name: str
    family: str
    data: bytes
    target: Target
    places: tuple[Place, ...]
    pieces: tuple[bytes, ...]
    ideal: bytes
    json: bool
    unsafe: str = ""
    adds: Mapping[str, str] | None = None

    def kept(self, after: bytes) -> bool:
        """Whether the bytes around the target's values are there, all of them and nothing else."""
        at, last = len(self.pieces[0]), self.pieces[-1]
        if not after.startswith(self.pieces[0]) or not after[at:].endswith(last):
            return False
        for piece in self.pieces[1:-1]:
            found = after.find(piece, at, len(after) - len(last))
            if found < 0:
                return False
            at = found + len(piece)
        return True


def corpus(count: int = 600) -> Iterator[Case]:
    """The families in turn, each time in another style."""
    names = list(FAMILIES)
    for number in range(count):
        family = names[number % len(names)]
        yield make(family, number, draw(random.Random(number), number))


def draw(chance: random.Random, seed: int) -> Style:
    """A style as people have it: mostly plain, with a few habits."""

    def habit(percent: int, value: Any, plain: Any) -> Any:
        return value if chance.randrange(100) < percent else plain

    return Style(
        json=habit(4, True, False),
        step=habit(20, 4, 2),
        in_sequence=habit(45, 2, 0),
        dash=habit(12, 4, 2),
        newline=habit(12, "\r\n", "\n"),
        mark=habit(6, True, False),
        start=habit(35, True, False),
        directive=habit(3, True, False),
        end=chance.choice(["\n", "\n", "\n", "\n", "", "\n\n", "\n# the end", "\n...\n", "\n---\n"]),
        quote=chance.choice(["", "", "", "", "'", '"']),
        flow=chance.choice([0, 0, 20, 60, 100]),
        spaced=habit(50, True, False),
        remarks=chance.choice([0, 5, 15, 40]),
        blanks=chance.choice([0, 0, 5, 20]),
        trailing=habit(15, 10, 0),
        aligned=habit(10, chance.randrange(2, 9), 1),
        folded=habit(20, True, False),
        below=habit(4, True, False),
        tag=habit(3, True, False),
        block=habit(4, chance.choice(["|", "|-", ">-"]), ""),
        empty=habit(4, True, False),
        seed=seed,
    )


def make(family: str, seed: int, style: Style) -> Case:
    """One file: what it says comes of the seed, how it is written of the style."""
    made = FAMILIES[family](random.Random(seed))
    documents = made.documents
    if style.json and any(isinstance(each, (Anchor, Alias, Inner)) or _marker(each) for each in _leaves(documents)):
        style = replace(style, json=False)
    if style.json:  # one document, the one with the target
        documents = [each for each in documents if any(_places(each, ()))] or documents[:1]
    paper = write(documents, style)
    first = 1 if style.empty and not style.json and (style.start or style.directive) else 0
    places = tuple(
        Place(number + first, path, old, new)
        for number, document in enumerate(documents)
        for path, old, new in _places(document, ())
    )
    suffix = ".json" if style.json else ".yaml"
    name = f"{seed:04}-{family.replace(', ', '-').replace(' ', '-')}{suffix}"
    return Case(
        name, family, paper.data, made.target, places, paper.pieces, paper.ideal, style.json, made.unsafe, made.adds
    )


def _leaves(node: Any) -> Iterator[Any]:
    if isinstance(node, (dict, list)):
        for each in node.values() if isinstance(node, dict) else node:
            yield from _leaves(each)
    elif isinstance(node, Anchor):
        yield node
        yield from _leaves(node.value)
    else:
        yield node


def _marker(leaf: Any) -> bool:
    return isinstance(leaf, Slot) and bool(leaf.marker)


def _places(node: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    if isinstance(node, Anchor):
        yield from _places(node.value, path)
    elif isinstance(node, Alias) and node.slot:
        yield path, node.slot.old, node.slot.new
    elif isinstance(node, Slot):
        yield path, node.old, node.new
    elif isinstance(node, Inner):
        yield path, node.text.replace("@", node.slot.old), node.text.replace("@", node.slot.new)
    elif isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _places(value, (*path, key))
