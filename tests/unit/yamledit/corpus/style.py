"""How a manifest is written: a pen that puts a structure on paper as people do, and knows where the target's value is.

It shares nothing with the code under test, and it is no emitter for others: it writes what tests/unit/yamledit/corpus
composes, in every manner that Git repositories show.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from typing import Any

_OPEN, _CLOSE = "\ue000", "\ue001"
_SPOT = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9._/-]*(:[A-Za-z0-9._/@-]+)*")
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n", "~")
_REMARKS = (
    "TODO: raise this after the next load test",
    "see docs/runbook.md#scaling",
    "keep in sync with the service: port",
    "don't touch, {{ rendered }} by nobody",
    "- name: old\n#   image: registry.example.com/models/mpg:v0",
    "größer ist besser 🚀 日本語",
    "\ttab\there",
    "quotes \" and ' and `",
    "-----------------------------------------------",
    "",
    "yamllint disable-line rule:line-length",
    "https://example.com/why?a=b#c: yes",
)


@dataclass(frozen=True)
class Slot:
    """The target's scalar, or one part of it: what stands there, and what may stand there after an edit."""

    old: str
    new: str
    quote: str | None = None  # as the style says unless it is given
    marker: str = ""  # a comment that belongs to the value, such as Flux's


@dataclass(frozen=True)
class Inner:
    """A text of several lines with a slot inside, which `@` stands for: a patch, or values, in a string."""

    text: str
    slot: Slot


@dataclass(frozen=True)
class Anchor:
    name: str
    value: Any


@dataclass(frozen=True)
class Alias:
    name: str
    slot: Slot | None = None  # where the target's value comes in by it


@dataclass(frozen=True)
class Style:
    """Each field is one habit; the defaults are the plainest manner."""

    json: bool = False
    step: int = 2
    in_sequence: int = 0  # how far a list's dashes stand in
    dash: int = 2  # from a dash to what it introduces
    newline: str = "\n"
    mark: bool = False
    start: bool = False
    directive: bool = False
    end: str = "\n"  # after the last line
    quote: str = ""
    flow: int = 0  # percent of small collections
    spaced: bool = False  # { a: b } for {a: b}
    remarks: int = 0  # percent of lines
    blanks: int = 0
    trailing: int = 0  # percent of lines that end in spaces
    aligned: int = 1  # spaces after a colon
    folded: bool = False
    below: bool = False  # the target's value on the line after its key
    tag: bool = False  # !!str before the target's value
    block: str = ""  # the target's value as a block scalar: |, |-, >-
    empty: bool = False  # an empty document first
    seed: int = 0


@dataclass(frozen=True)
class Paper:
    """A written file. `pieces` are the bytes between the target's values, which no edit may change."""

    data: bytes
    ideal: bytes
    pieces: tuple[bytes, ...]


def write(documents: list[Any], style: Style) -> Paper:
    """Put documents on paper. JSON holds the first one only, and neither comments nor anchors."""
    pen = _Pen(style)
    text = pen.as_json(documents[0]) if style.json else pen.as_yaml(documents)
    end = "" if style.json and style.end.strip() else style.end
    text = (text.rstrip("\n") + end).replace("\n", style.newline)
    if style.mark:
        text = "\ufeff" + text
    parts = _SPOT.split(text)
    old = "".join(part if index % 2 == 0 else pen.slots[int(part)][0] for index, part in enumerate(parts))
    new = "".join(part if index % 2 == 0 else pen.slots[int(part)][1] for index, part in enumerate(parts))
    return Paper(old.encode(), new.encode(), tuple(part.encode() for part in parts[::2]))


@dataclass
class _Pen:
    style: Style
    slots: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.style.seed)

    def as_yaml(self, documents: list[Any]) -> str:
        style, lines = self.style, list[str]()
        if style.directive:
            lines += ["%YAML 1.1", "---"]
        elif style.start:
            lines += ["---"]
        if style.remarks:
            lines += ["# Managed in Git: changes made by hand are overwritten.", "#" + " " * 3, ""]
        if style.empty and (style.start or style.directive):
            lines += ["---"]
        for number, document in enumerate(documents):
            if number:
                lines += [self.chance.choice(["---", "---", "--- # " + "next"])]
            lines += self.block(document, 0)
        return "\n".join(lines)

    def as_json(self, document: Any) -> str:
        def plain(node: Any) -> Any:
            if isinstance(node, dict):
                return {key: plain(value) for key, value in node.items()}
            if isinstance(node, list):
                return [plain(each) for each in node]
            if isinstance(node, Slot):
                return self.spot(json.dumps(node.old), json.dumps(node.new))
            return node

        wide = {"separators": (",", ":")} if self.style.flow > 50 else {"indent": self.style.step}
        text = json.dumps(plain(document), ensure_ascii=False, **wide)  # type: ignore[arg-type]
        return re.sub(f'"({_OPEN}[0-9]+{_CLOSE})"', r"\1", text)

    def spot(self, old: str, new: str) -> str:
        self.slots.append((old, new))
        return f"{_OPEN}{len(self.slots) - 1}{_CLOSE}"

    def hits(self, percent: int) -> bool:
        return self.chance.randrange(100) < percent

    # --- blocks

    def block(self, node: Any, indent: int) -> list[str]:
        """The lines of a collection that is not empty."""
        return self.mapping(node, indent) if isinstance(node, dict) else self.sequence(node, indent)

    def mapping(self, node: dict[str, Any], indent: int, first: bool = False) -> list[str]:
        lines = []
        for number, (key, value) in enumerate(node.items()):
            if number or not first:
                lines += self.above(indent)
            lines += self.entry(f"{' ' * indent}{self.key(key)}:", value, indent)
        return lines

    def sequence(self, node: list[Any], indent: int) -> list[str]:
        lines = []
        for item in node:
            lines += self.above(indent)
            if isinstance(item, dict) and item and not self.flows(item):
                inner = self.mapping(item, indent + self.style.dash, first=True)
                head = " " * indent + "-" + " " * (self.style.dash - 1)
                lines += [head + inner[0][len(head) :], *inner[1:]]
            else:
                lines += self.entry(" " * indent + "-", item, indent)
        return lines

    def entry(self, head: str, value: Any, indent: int) -> list[str]:
        """What stands after a key or a dash."""
        if isinstance(value, Anchor):
            return self.entry(f"{head} &{value.name}", value.value, indent)
        space = " " * (self.style.aligned if head.endswith(":") else 1)
        if isinstance(value, Slot):
            return self.target(head, value, indent, space)
        if isinstance(value, Inner):
            spot = self.spot(value.slot.old, value.slot.new)
            return self.text(head, value.text.replace("@", spot), indent, folded=False)
        if isinstance(value, (dict, list)) and value and not self.flows(value):
            inside = indent + (self.style.in_sequence if isinstance(value, list) else self.style.step)
            return [head + self.aside(), *self.block(value, inside)]
        if isinstance(value, str) and "\n" in value:
            return self.text(head, value, indent, folded=self.style.folded and "\n " not in value)
        return [head + space + self.inline(value) + self.aside()]

    def target(self, head: str, slot: Slot, indent: int, space: str) -> list[str]:
        style = self.style
        beside = f" {slot.marker}" if slot.marker else self.aside()
        if style.block and not slot.marker:
            inside = " " * (indent + style.step)
            return [f"{head} {style.block}", inside + self.spot(slot.old, slot.new)]
        tag = "!!str " if style.tag else ""
        spot = self.both(slot)
        if style.below:
            return [head, f"{' ' * (indent + style.step + 2)}{tag}{spot}{beside}"]
        return [f"{head}{space}{tag}{spot}{beside}"]

    def text(self, head: str, value: str, indent: int, *, folded: bool) -> list[str]:
        keep = "" if value.endswith("\n") else "-"
        inside = " " * (indent + self.style.step)
        words = value.rstrip("\n").split("\n")
        return [f"{head} {'>' if folded else '|'}{keep}", *(inside + each if each else "" for each in words)]

    def above(self, indent: int) -> list[str]:
        lines = [""] if self.hits(self.style.blanks) else []
        if self.hits(self.style.remarks):
            remark = self.chance.choice(_REMARKS)
            at = " " * self.chance.choice([indent, indent, indent, 0])
            lines += [f"{at}# {remark}".rstrip(" ").replace("\n#", f"\n{at}#")]
        return lines

    def aside(self) -> str:
        if self.hits(self.style.remarks // 2):
            return self.chance.choice([" # ", "  # ", "   #"]) + self.chance.choice(_REMARKS).partition("\n")[0]
        return "  " if self.hits(self.style.trailing) else ""

    # --- lines

    def flows(self, node: Any) -> bool:
        return self.small(node) and self.hits(self.style.flow)

    def small(self, node: Any) -> bool:
        """Whether a collection may stand on one line: it has no marker, and no text of several lines."""
        if isinstance(node, dict):
            return len(node) < 6 and all(self.small(each) for each in node.values())
        if isinstance(node, list):
            return len(node) < 6 and all(self.small(each) for each in node)
        if isinstance(node, Slot):
            return not node.marker
        return not isinstance(node, (Inner, Anchor, Alias)) and "\n" not in str(node)

    def inline(self, node: Any) -> str:
        if isinstance(node, Slot):
            return self.both(node)
        if isinstance(node, Alias):
            alias = f"*{node.name}"
            return self.spot(alias, self.quoted(node.slot.new)) if node.slot else alias
        space = " " if self.style.spaced else ""
        if isinstance(node, dict):
            inner = ", ".join(f"{self.key(key)}: {self.inline(value)}" for key, value in node.items())
            return f"{{{space}{inner}{space}}}" if inner else "{}"
        if isinstance(node, list):
            inner = ", ".join(self.inline(each) for each in node)
            return f"[{space}{inner}{space}]" if inner else "[]"
        if isinstance(node, str):
            return self.quoted(node)
        return json.dumps(node)

    def key(self, key: str) -> str:
        return key if key == "<<" or _PLAIN.fullmatch(key) else self.quoted(key)

    def both(self, slot: Slot) -> str:
        """The spot of a scalar; what stood there without quotes gets some if it would be no text without."""
        needed = slot.quote == "" and not _PLAIN.fullmatch(slot.new)
        return self.spot(self.quoted(slot.old, slot.quote), self.quoted(slot.new, '"' if needed else slot.quote))

    def quoted(self, text: str, quote: str | None = None) -> str:
        wanted = self.style.quote if quote is None else quote
        if not wanted and (quote is not None or (_PLAIN.fullmatch(text) and text.lower() not in _WORDS)):
            return text
        if wanted == "'" and text.isprintable():
            return "'" + text.replace("'", "''") + "'"
        return json.dumps(text, ensure_ascii=False)
