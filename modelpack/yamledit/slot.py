"""Where parts of an image stand in a file, and what goes there: an image taken apart and put together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import yaml

from modelpack.errors import RefusedError
from modelpack.target import DIGEST, IMAGE, REGISTRY, REPOSITORY, TAG
from modelpack.yamledit import write
from modelpack.yamledit.tree import NULL, Splice, Tree

_VERSION = re.compile(r"v?\d+(?:\.\d+)*(?:-[\w.-]+)?")
_SCHEME = re.compile(r"(?:oci|docker)[a-z+-]*://")
_OTHER_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# Helm and Go templates; variables of Flux, kustomize and envsubst; values that SOPS has sealed
_FOREIGN = re.compile(r"\{\{|\$\{|\$\(|\AENC\[")

Change = tuple[Tree, Splice]


class Image(NamedTuple):
    """An image's reference taken apart as it is written; parts it does not have are ""."""

    registry: str
    repository: str
    tag: str
    digest: str

    @classmethod
    def of(cls, text: str) -> Image:
        """As the distribution project's grammar has it: a first component with a dot or colon is a registry."""
        rest, _, digest = text.partition("@")
        name, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:
            name, tag = rest, ""
        registry, slash, repository = name.partition("/")
        if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
            registry, repository = "", name
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    def __str__(self) -> str:
        return (
            self.name + (f":{self.tag}" if self.name and self.tag else self.tag) + "@" * bool(self.digest) + self.digest
        )


class Place(Protocol):
    """All that a target names in one file."""

    @property
    def value(self) -> str:
        """The image that stands there, put together from its parts; missing ones are ""."""

    @property
    def span(self) -> tuple[Tree, int, int]:
        """The tree that holds the first of it, and where, or would."""

    @property
    def scalars(self) -> tuple[tuple[Tree, yaml.ScalarNode], ...]:
        """What stands there now."""

    def changes(self, image: str) -> list[Change]:
        """What sets the image; nothing if it stands there already."""


@dataclass(frozen=True)
class Slot:
    """A scalar that holds a part of an image, between a `prefix` and a `suffix` that stay."""

    tree: Tree
    part: str
    node: yaml.ScalarNode
    prefix: str = ""
    suffix: str = ""

    @property
    def text(self) -> str:
        if self.node.tag == NULL:
            return ""
        text = self.node.value.strip() if self.node.style in ("|", ">") else self.node.value
        return str(text[len(self.prefix) : len(text) - len(self.suffix)])


def slot(tree: Tree, part: str, node: yaml.ScalarNode, shared: bool = False) -> Slot:
    """A slot that is a whole scalar, a scheme like oci:// left out.

    Raises RefusedError for what is written by something else: a template, a variable, SOPS; and unless `shared` is
    allowed for what an alias repeats elsewhere.
    """
    if not shared:
        tree.check_unshared(node)
    foreign = _FOREIGN.search(node.value)
    if foreign:
        what = {"{{": "a template ({{ }})", "ENC[": "encrypted with SOPS"}.get(foreign[0], "a variable")
        raise RefusedError(tree.where(node), f"is {what}", "name the place that fills it in")
    scheme = _SCHEME.match(node.value.lstrip()) if part in (IMAGE, REGISTRY, REPOSITORY) else None
    other = None if scheme else _OTHER_SCHEME.match(node.value)
    if other:
        raise RefusedError(tree.where(node), f"holds a {other[0]} address, no image", "write oci:// before an image")
    return Slot(tree, part, node, scheme[0] if scheme else "")


def check_image(slot: Slot) -> Slot:
    """The slot, if it may hold what it is to hold; raises RefusedError where a whole image would replace a tag."""
    if slot.part == IMAGE and _VERSION.fullmatch(slot.text):
        problem = f"holds {slot.text!r}, which is a tag and no image"
        remedy = "say what of the image it holds: part: tag, or values: {tag: …}"
        raise RefusedError(slot.tree.where(slot.node), problem, remedy)
    return slot


@dataclass(frozen=True)
class Slots:
    """A place of scalars that all stand there: at least one, and of a part more than one where markers repeat it."""

    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        seen: set[int] = set()
        for each in self.slots:
            if id(each.node) in seen:
                raise RefusedError(each.tree.where(each.node), "is to hold two parts of the image", "name it once")
            seen.add(id(each.node))

    @property
    def value(self) -> str:
        held = {each.part: each.text for each in reversed(self.slots)}
        if IMAGE in held:
            return held[IMAGE]
        tag, _, pinned = held.get(TAG, "").partition("@")
        digest = held.get(DIGEST, "") or pinned
        return str(Image(held.get(REGISTRY, ""), held.get(REPOSITORY, ""), tag, digest))

    @property
    def span(self) -> tuple[Tree, int, int]:
        first = self.slots[0]
        return (first.tree, *write.span(first.tree, first.node))

    @property
    def scalars(self) -> tuple[tuple[Tree, yaml.ScalarNode], ...]:
        return tuple((each.tree, each.node) for each in self.slots)

    def changes(self, image: str) -> list[Change]:
        """What sets all parts of the image.

        A tag that stands without a digest of its own is set alone, as Helm charts (which use it as a label too) and
        Flux's `:tag` markers want it; if it held `tag@digest`, it gets the new digest as well.
        """
        parts = {each.part for each in self.slots}
        wanted = Image.of(image)
        found: list[Change] = []
        for each in self.slots:
            text = {
                IMAGE: image,
                REGISTRY: wanted.registry,
                REPOSITORY: wanted.repository if REGISTRY in parts else wanted.name,
                TAG: wanted.tag,
                DIGEST: wanted.digest,
            }[each.part]
            if each.part == TAG and DIGEST not in parts:
                if not text:
                    where = each.tree.where(each.node)
                    raise RefusedError(where, f"holds a tag alone, and {image} has none", "name a place for the digest")
                if "@" in each.text and wanted.digest:
                    text += f"@{wanted.digest}"
            if each.text != text or each.node.tag == NULL:
                if each.node.tag == NULL and not text:
                    continue
                found.append((each.tree, write.set_text(each.tree, each.node, f"{each.prefix}{text}{each.suffix}")))
        return found
