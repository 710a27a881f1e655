"""A Kustomization's `images:`, kustomize's own or Flux's: the entry of one name, made where it is missing.

An entry gives images of that name another name (newName), tag (newTag) and digest; kustomize sets tag and digest both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.target import DIGEST, REPOSITORY, TAG, Target
from modelpack.yamledit import write
from modelpack.yamledit.slot import Change, Image, Slot, slot
from modelpack.yamledit.stream import Stream
from modelpack.yamledit.tree import NULL, Splice, Tree, last_end, scalar

_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_KINDS = ("Kustomization", "Component")
_KEYS = {"newName": REPOSITORY, "newTag": TAG, "digest": DIGEST}


@dataclass(frozen=True)
class Entry:
    """The entry of an image `name` in the `images` of `holder`; both None where they are still missing."""

    tree: Tree
    holder: yaml.MappingNode
    images: yaml.SequenceNode | None
    item: yaml.MappingNode | None
    name: str

    @property
    def _slots(self) -> dict[str, Slot]:
        """What the entry says now, by key."""
        found = {}
        for key, part in _KEYS.items():
            pair = self.tree.child(self.item, key) if self.item else None
            if pair is None:
                continue
            if not isinstance(pair[1], yaml.ScalarNode):
                raise InputError(self.tree.where(pair[1]), f"{key} is not a text")
            found[key] = slot(self.tree, part, pair[1])
        return found

    @property
    def value(self) -> str:
        if self.item is None:
            return ""
        held = {key: each.text for key, each in self._slots.items()}
        name = Image.of(held.get("newName") or self.name)
        return str(name._replace(tag=held.get("newTag", ""), digest=held.get("digest", "")))

    @property
    def span(self) -> tuple[Tree, int, int]:
        if self.item is None:
            at = last_end(self.images or self.holder)
            return self.tree, at, at
        slots = self._slots
        for key in ("newTag", "digest", "newName"):
            if key in slots:
                return (self.tree, *write.span(self.tree, slots[key].node))
        return (self.tree, *write.span(self.tree, self._named[1]))

    @property
    def scalars(self) -> tuple[tuple[Tree, yaml.ScalarNode], ...]:
        return tuple((each.tree, each.node) for each in self._slots.values())

    @property
    def _named(self) -> tuple[yaml.Node, yaml.ScalarNode]:
        assert self.item
        key, node = next((key, node) for key, node in self.item.value if key.value == "name")
        return key, node

    def changes(self, image: str) -> list[Change]:
        new = Image.of(image)
        slots = self._slots
        texts = {"newName": new.name, "newTag": new.tag, "digest": new.digest}
        if new.name == self.name and "newName" not in slots:
            texts["newName"] = ""
        if self.item is None:
            return [(self.tree, self._create([(key, text) for key, text in texts.items() if text]))]
        found: list[Change] = []
        before: tuple[yaml.Node, yaml.Node] = self._named
        inserted: list[tuple[str, str]] = []
        for key, text in texts.items():
            if key not in slots:
                inserted += [(key, text)] if text else []
                continue
            pair = next(each for each in self.item.value if each[1] is slots[key].node)
            if not text:
                found.append((self.tree, write.remove(self.tree, self.item, pair)))
                continue
            found += self._insert(before, inserted)
            before, inserted = pair, []
            if slots[key].text != text:
                found.append((self.tree, write.set_text(self.tree, slots[key].node, text)))
        return found + self._insert(before, inserted)

    def _insert(self, before: tuple[yaml.Node, yaml.Node], entries: list[tuple[str, str]]) -> list[Change]:
        assert self.item
        return [(self.tree, write.insert_after(self.tree, self.item, before, entries))] if entries else []

    def _create(self, entries: list[tuple[str, str]]) -> Splice:
        entries = [("name", self.name), *entries]
        if self.images is not None:
            return write.append_item(self.tree, self.images, entries)
        return write.append_list(self.tree, self.holder, "images", entries)


def place(stream: Stream, target: Target) -> Entry:
    """The entry that `images: NAME` names. Raises NotFoundError for a file that is no Kustomization."""
    found = list(kustomizations(stream))
    if not found:
        remedy = "name a file of kind Kustomization or Component"
        raise NotFoundError(f"{stream.name}:1", "is no Kustomization, there is no images to set", remedy)
    if len(found) > 1:
        tree, second = found[1]
        raise RefusedError(tree.where(second), "there is a second Kustomization", "give each a file of its own")
    tree, holder = found[0]
    tree.check_unshared(holder)
    pair = tree.child(holder, "images")
    if pair is None or pair[1].tag == NULL:
        return Entry(tree, holder, None, None, target.images)
    images = pair[1]
    if not isinstance(images, yaml.SequenceNode):
        raise InputError(tree.where(images), "images is not a list")
    tree.check_unshared(images)
    items = [each for each in images.value if scalar(tree.peek(each, "name")) == target.images]
    if len(items) > 1:
        raise RefusedError(tree.where(items[1]), f"there is a second entry for {target.images}", "remove one of them")
    if not items:
        tree.check_literal(images)
        return Entry(tree, holder, images, None, target.images)
    tree.check_unshared(items[0])
    tree.child(items[0], "name")
    return Entry(tree, holder, images, items[0], target.images)


def kustomizations(stream: Stream) -> Iterator[tuple[Tree, yaml.MappingNode]]:
    """The Kustomizations and Components of a file; of Flux's Kustomization its spec, which has the same fields."""
    usual = PurePosixPath(stream.name).name in _FILES
    for tree in stream.trees:
        if not usual and not any(kind in tree.text for kind in _KINDS):
            continue
        for document in tree.documents:
            if not isinstance(document, yaml.MappingNode):
                continue
            kind, version = scalar(tree.peek(document, "kind")), scalar(tree.peek(document, "apiVersion"))
            spec = tree.peek(document, "spec")
            if kind == "Kustomization" and version.startswith("kustomize.toolkit.fluxcd.io/"):
                if isinstance(spec, yaml.MappingNode):
                    yield tree, spec
            elif kind in _KINDS if kind else usual:
                yield tree, document
